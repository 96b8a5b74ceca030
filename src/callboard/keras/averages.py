"""The averages of weights that a Keras optimizer keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from callboard._core.errors import DataError, UnsupportedError
from callboard.keras.variables import assign, host_array

if TYPE_CHECKING:
    from callboard.keras.trainable import KerasTrainable

__all__ = ["OptimizerAverages"]


class OptimizerAverages:
    """The averages that an optimizer with ``use_ema=True`` keeps, and the weights they are of.

    They are part of the optimizer's state, and are saved with it.

    Args:
        trainable: The model and its optimizer.

    Raises:
        UnsupportedError: If the optimizer keeps none.
    """

    def __init__(self, trainable: KerasTrainable) -> None:
        self._trainable = trainable
        self._own: list[np.ndarray[Any, Any]] = []
        if not any(getattr(each, "use_ema", False) for each in self._optimizers()):
            raise UnsupportedError(
                "the optimizer keeps no averages of the weights; make it with use_ema=True, as in "
                "keras.optimizers.Adam(use_ema=True, ema_momentum=0.99)"
            )

    @property
    def in_model(self) -> bool:
        """Whether the averages are in the model."""
        return bool(self._own)

    def put(self) -> None:
        """Have the averages in the model, if there are any yet, and keep its own weights."""
        if self.in_model:
            return
        pairs = self._pairs()
        self._own = [host_array(weight) for weight, _ in pairs]
        for weight, average in pairs:
            weight.assign(keras.ops.copy(average))  # JAX could not donate one buffer twice

    def take(self) -> None:
        """Put the model's own weights back."""
        if not self.in_model:
            return
        weights = {str(index): weight for index, (weight, _) in enumerate(self._pairs())}
        assign(weights, self._own)
        self._own = []

    def leave(self) -> None:
        """Leave the averages in the model for good."""
        self.put()
        self._own = []

    def close(self) -> None:
        """The optimizer goes on averaging."""

    def state_dict(self) -> dict[str, Any]:
        """Return the model's own weights while they are not in it."""
        return {"own": list(self._own)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If it is that of another model.
        """
        own = [np.array(array) for array in state["own"]]
        if own and [a.shape for a in own] != [tuple(w.shape) for w, _ in self._pairs()]:
            raise DataError("the saved weights are of another model")
        self._own = own

    def _optimizers(self) -> list[Any]:
        optimizer = self._trainable.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
        return list(getattr(optimizer, "optimizers", [optimizer]))

    def _pairs(self) -> list[tuple[Any, Any]]:
        """Return each weight with its average; none before the first update, when they are 0."""
        _ = self._trainable.model
        return [
            (weight, average)
            for optimizer in self._optimizers()
            if getattr(optimizer, "use_ema", False) and optimizer.built
            if int(optimizer.iterations)
            for weight, average in zip(
                optimizer._trainable_variables,  # noqa: SLF001 - Keras has no other way to ask
                optimizer._model_variables_moving_average,  # noqa: SLF001 - the same
                strict=True,
            )
            if average is not None
        ]
