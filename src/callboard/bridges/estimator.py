"""A scikit-learn estimator, as callbacks see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron

from callboard._core.errors import ConfigurationError, DataError, UnsupportedError
from callboard.bridges.estimator_state import RATES, EstimatorState, by_columns, leave_out
from callboard.bridges.estimator_weights import learned, put, trains
from callboard.bridges.layerless import LayerlessTrainable
from callboard.checkpoint.safetensors import read_safetensors, write_safetensors

__all__ = ["EstimatorTrainable"]

Array = np.ndarray[Any, Any]

# Schedules of SGDClassifier and its like that do not look at eta0, or mean something else by it.
_WITHOUT_RATE = ("optimal", "pa1", "pa2")

# Estimators that keep more than arrays and plain values; the others are found out when fitted.
_WITH_OBJECTS = {"Birch": "a tree of objects beside its arrays"}

# Estimators that are nothing but arrays and plain values, though some have no partial_fit.
_PLAIN = (LinearClassifierMixin, LinearModel, BaseMultilayerPerceptron)


class EstimatorTrainable(LayerlessTrainable):
    """What callbacks may do to a scikit-learn estimator that is trained by ``partial_fit``.

    Its weights are its fitted attributes that are arrays of floating-point numbers, or lists of
    them: ``coef_``, ``intercept_``, ``coefs_.0``; of an estimator around others, such as
    ``MultiOutputClassifier``, also theirs: ``estimators_.0.coef_``. They are saved as
    ``.safetensors``. The learning rate is that of the optimizer of ``MLPClassifier`` and
    ``MLPRegressor``, and ``eta0`` elsewhere.

    A run that was interrupted goes on exactly with ``BackupAndRestore``: all attributes that are
    arrays, numbers, texts and generators of random numbers are saved, the optimizer of the
    multi-layer perceptrons, and estimators that are copies of a parameter.

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
        return {name: array.copy(order="K") for name, array in learned(self.estimator)}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Write the fitted arrays back.

        Raises:
            DataError: If they are those of another estimator; then nothing is changed.
            UnsupportedError: If the estimator consists of more than them.
        """
        self.check_state(weights_only=True)
        shapes = {name: array.shape for name, array in learned(self.estimator)}
        given = {name: array.shape for name, array in weights.items()}
        if shapes and shapes != given:
            raise DataError(f"the estimator has {shapes}, and the weights are {given}")
        put(self.estimator, {name: np.array(array) for name, array in weights.items()})

    def nonfinite(self) -> str:
        """Return the name of an array that holds NaN or an infinity, or an empty string."""
        return next((n for n, a in learned(self.estimator) if not np.isfinite(a).all()), "")

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Raise if the estimator cannot be saved, or not under this name."""
        self.check_state(weights_only=True)
        super().check_path(path, weights_only=weights_only)

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the fitted arrays durably and whole."""
        write_safetensors(path, self.weights())

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote into an estimator that is fitted, or has been for one batch."""
        self.set_weights(read_safetensors(path))

    def check_state(self, *, weights_only: bool) -> None:
        """Raise if it is known that the state, or the weights, cannot be taken and put back.

        Of estimators that are not scikit-learn's own that is known when they are fitted.
        """
        self._check_kind()
        if not weights_only:
            self.state_dict()

    def _check_kind(self) -> None:
        kind = type(self.estimator).__name__
        inside = filter(trains, self.estimator.get_params(deep=True).values())
        kinds = {each.__name__ for part in (self.estimator, *inside) for each in type(part).__mro__}
        why = next((f"a {n} keeps {_WITH_OBJECTS[n]}" for n in _WITH_OBJECTS if n in kinds), "")
        if not (
            why or hasattr(self.estimator, "partial_fit") or isinstance(self.estimator, _PLAIN)
        ):
            why = f"a {kind} has no partial_fit, and is more than its arrays"
        if why:
            raise UnsupportedError(
                f"{why}, so it cannot be saved and put back; leave out callbacks that save it or "
                "restore its weights"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return all that ``partial_fit`` goes on from.

        Raises:
            UnsupportedError: If the estimator keeps something that is no plain value.
        """
        state = EstimatorState(self.estimator).read()
        weights = dict(learned(self.estimator))
        for name in weights:
            leave_out(state, name)
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
        weights = {
            name: np.array(array, order="F" if name in columns else "C")
            for name, array in state["weights"].items()
        }
        put(self.estimator, weights)
