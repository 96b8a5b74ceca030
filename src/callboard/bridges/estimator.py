"""A scikit-learn estimator, as callbacks see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from callboard._core.errors import ConfigurationError, DataError, UnsupportedError
from callboard.bridges.estimator_state import RATES, EstimatorState, by_columns
from callboard.bridges.layerless import LayerlessTrainable
from callboard.checkpoint.safetensors import read_safetensors, write_safetensors

__all__ = ["EstimatorTrainable"]

Array = np.ndarray[Any, Any]

# Schedules of SGDClassifier and its like that do not look at eta0, or mean something else by it.
_WITHOUT_RATE = ("optimal", "pa1", "pa2")


class EstimatorTrainable(LayerlessTrainable):
    """What callbacks may do to a scikit-learn estimator that is trained by ``partial_fit``.

    Its weights are its fitted attributes that are arrays of floating-point numbers, or lists of
    them: ``coef_``, ``intercept_``, ``coefs_.0``. They are saved as ``.safetensors``. The learning
    rate is that of the optimizer of ``MLPClassifier`` and ``MLPRegressor``, and ``eta0`` elsewhere.

    A run that was interrupted goes on exactly with ``BackupAndRestore``: all attributes that are
    arrays, numbers, texts and generators of random numbers are saved, and the optimizer of the
    multi-layer perceptrons.

    Args:
        estimator: The estimator.

    Raises:
        ConfigurationError: If it is none.
        UnsupportedError: Where a callback needs what an estimator does not have.

    Example:
        >>> from sklearn.linear_model import SGDClassifier
        >>> from callboard import Run
        >>> estimator = SGDClassifier(random_state=0)
        >>> with Run(trainable=EstimatorTrainable(estimator), verbose=0) as run:
        ...     for _ in run.epochs():
        ...         for x, y in run.train([([[0.0], [1.0]], [0, 1])]):
        ...             run.log(accuracy=estimator.partial_fit(x, y, [0, 1]).score(x, y))
        >>> sorted(run.trainable.weights())
        ['coef_', 'intercept_']
    """

    suffixes = (".safetensors",)

    def __init__(self, estimator: Any) -> None:
        if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
            raise ConfigurationError(
                f"EstimatorTrainable takes an estimator, such as SGDClassifier(); got {estimator!r}"
            )
        super().__init__(estimator, "an estimator")

    @property
    def estimator(self) -> Any:
        """The estimator."""
        return self.model.host

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next ``partial_fit``."""
        optimizer = getattr(self.estimator, "_optimizer", None)
        if optimizer is not None:
            return float(optimizer.learning_rate_init)
        return float(self.estimator.get_params(deep=False)[self._rate()])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        name = self._rate()
        optimizer = getattr(self.estimator, "_optimizer", None)
        if optimizer is not None:
            optimizer.learning_rate = optimizer.learning_rate_init = value
        self.estimator.set_params(**{name: value})

    def _rate(self) -> str:
        """Return the name of the parameter that is the learning rate."""
        kind = type(self.estimator).__name__
        parameters = self.estimator.get_params(deep=False)
        name = next((n for n in RATES if n in parameters), "")
        if not name:
            raise UnsupportedError(
                f"a {kind} has no learning rate; leave out callbacks that change it"
            )
        schedule = parameters.get("learning_rate")
        if schedule in _WITHOUT_RATE:
            raise UnsupportedError(
                f"{kind}(learning_rate={schedule!r}) has no learning rate that could be changed; "
                f"pass learning_rate='constant' and {name}, or leave out callbacks that change it"
            )
        return name

    def weights(self, into: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Copy the fitted arrays."""
        return {name: array.copy(order="K") for name, array in _fitted(self.estimator)}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Write the fitted arrays back.

        Raises:
            DataError: If they are those of another estimator; then nothing is changed.
        """
        shapes = {name: array.shape for name, array in _fitted(self.estimator)}
        given = {name: array.shape for name, array in weights.items()}
        if shapes and shapes != given:
            raise DataError(f"the estimator has {shapes}, and the weights are {given}")
        self._put(weights)

    def _put(self, weights: Mapping[str, Array]) -> None:
        lists: dict[str, dict[int, Array]] = {}
        for name, array in weights.items():
            attribute, _, index = name.partition(".")
            if index:
                lists.setdefault(attribute, {})[int(index)] = np.array(array)
            else:
                setattr(self.estimator, attribute, np.array(array))
        for attribute, arrays in lists.items():  # in a file they are in any order
            setattr(self.estimator, attribute, [arrays[index] for index in sorted(arrays)])

    def nonfinite(self) -> str:
        """Return the name of an array that holds NaN or an infinity, or an empty string."""
        return next((n for n, a in _fitted(self.estimator) if not np.isfinite(a).all()), "")

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the fitted arrays durably and whole."""
        write_safetensors(path, self.weights())

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote into an estimator that is fitted, or has been for one batch."""
        self.set_weights(read_safetensors(path))

    def state_dict(self) -> dict[str, Any]:
        """Return all that ``partial_fit`` goes on from.

        Raises:
            UnsupportedError: If the estimator keeps something that is no plain value.
        """
        state = EstimatorState(self.estimator).read()
        weights = dict(_fitted(self.estimator))
        for name in weights:
            state["attributes"].pop(name.partition(".")[0], None)
        # The order in memory has a part in the last bit of products, and is not saved otherwise.
        columns = [name for name, array in weights.items() if by_columns(array)]
        return {"weights": weights, "frozen": {}, "estimator": {**state, "by_columns": columns}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If it is the state of another estimator; then nothing is changed.
        """
        EstimatorState(self.estimator).write(state["estimator"])
        columns = state["estimator"]["by_columns"]
        self._put(
            {
                n: np.array(a, order="F" if n in columns else "C")
                for n, a in state["weights"].items()
            }
        )


def _fitted(estimator: Any) -> Iterator[tuple[str, Array]]:
    for name, value in sorted(vars(estimator).items()):
        if name.startswith("_") or not name.endswith("_"):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield name, value
        elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            for index, array in enumerate(value):
                yield f"{name}.{index}", array
