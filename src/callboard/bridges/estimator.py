"""A scikit-learn estimator, as callbacks see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from callboard._core.errors import DataError, UnknownNameError, UnsupportedError
from callboard._core.logs import Logs
from callboard.checkpoint.safetensors import read_safetensors, write_safetensors

__all__ = ["EstimatorModel", "EstimatorTrainable"]

Array = np.ndarray[Any, Any]

_SUFFIX = ".safetensors"


class EstimatorModel:
    """What callbacks receive as their model; everything but ``stop_training`` is the estimator's.

    Args:
        estimator: The estimator.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.stop_training = False

    def __getattr__(self, name: str) -> Any:
        if name == "estimator" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.estimator, name)


class EstimatorTrainable:
    """What callbacks may do to a scikit-learn estimator that is trained by ``partial_fit``.

    Its weights are its fitted attributes that are arrays of floating-point numbers, or lists of
    them: ``coef_``, ``intercept_``, ``coefs_.0``. They are saved as ``.safetensors``. The learning
    rate is that of the optimizer of ``MLPClassifier`` and ``MLPRegressor``, and ``eta0`` elsewhere.

    Args:
        estimator: The estimator.

    Raises:
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

    rank = 0
    synchronous = True
    rate_controller = ""
    rejected = ""

    def __init__(self, estimator: Any) -> None:
        self.model = EstimatorModel(estimator)

    @property
    def estimator(self) -> Any:
        """The estimator."""
        return self.model.estimator

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next ``partial_fit``."""
        optimizer = getattr(self.estimator, "_optimizer", None)
        if optimizer is not None:
            return float(optimizer.learning_rate_init)
        parameters = self.estimator.get_params(deep=False)
        name = next((n for n in ("eta0", "learning_rate_init") if n in parameters), None)
        if name is None:
            raise UnsupportedError(
                f"a {type(self.estimator).__name__} has no learning rate; leave out callbacks that "
                "change it"
            )
        return float(parameters[name])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        _ = self.learning_rate  # what has none says so
        optimizer = getattr(self.estimator, "_optimizer", None)
        if optimizer is not None:
            optimizer.learning_rate = optimizer.learning_rate_init = value
        parameters = self.estimator.get_params(deep=False)
        name = "eta0" if "eta0" in parameters else "learning_rate_init"
        self.estimator.set_params(**{name: value})

    def reduced(self, logs: Logs) -> Logs:
        """Return metrics as they are: there is one process."""
        return logs

    def weights(self, into: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Copy the fitted arrays."""
        return {name: array.copy() for name, array in _fitted(self.estimator)}

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Write the fitted arrays back.

        Raises:
            DataError: If they are those of another estimator; then nothing is changed.
        """
        shapes = {name: array.shape for name, array in _fitted(self.estimator)}
        given = {name: array.shape for name, array in weights.items()}
        if shapes and shapes != given:
            raise DataError(f"the estimator has {shapes}, and the weights are {given}")
        for name, array in weights.items():
            attribute, _, index = name.partition(".")
            if index:
                getattr(self.estimator, attribute)[int(index)] = np.array(array)
            else:
                setattr(self.estimator, attribute, np.array(array))

    def nonfinite(self) -> str:
        """Return the name of an array that holds NaN or an infinity, or an empty string."""
        return next((n for n, a in _fitted(self.estimator) if not np.isfinite(a).all()), "")

    def gradients(self) -> dict[str, Array]:
        """Raise, as an estimator does not show them."""
        raise UnsupportedError("an estimator does not show its gradients")

    def activations(self, inputs: Any) -> dict[str, Array]:
        """Raise, as an estimator does not show them."""
        raise UnsupportedError("an estimator does not show what its layers give out")

    def guard(self, *, gradients: bool) -> bool:
        """Say that the logs are to be looked at; an update cannot be rejected."""
        if gradients:
            self.gradients()
        return False

    def unguard(self) -> None:
        """Do nothing, as nothing was guarded."""

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Raise if the weights cannot be saved under this name."""
        if path.suffix != _SUFFIX:
            raise UnknownNameError("file suffix", path.suffix or path.name, [_SUFFIX])

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the fitted arrays durably and whole."""
        write_safetensors(path, self.weights())

    def load(self, path: Path) -> None:
        """Read what ``save`` wrote into an estimator that is fitted, or has been for one batch."""
        self.set_weights(read_safetensors(path))

    def state_dict(self) -> dict[str, Any]:
        """Raise: an estimator does not show all of its state, its optimizer and counters."""
        raise UnsupportedError(
            "the training of an estimator cannot be saved and gone on with exactly, as it does not "
            "show all of its state; save its weights by ModelCheckpoint('name.safetensors')"
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise, as nothing can have been saved."""
        self.state_dict()


def _fitted(estimator: Any) -> Iterator[tuple[str, Array]]:
    for name, value in sorted(vars(estimator).items()):
        if name.startswith("_") or not name.endswith("_"):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield name, value
        elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            for index, array in enumerate(value):
                yield f"{name}.{index}", array
