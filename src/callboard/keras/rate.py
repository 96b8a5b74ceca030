"""The learning rate of Keras's optimizers."""

from __future__ import annotations

from typing import Any

import keras

from callboard._core.errors import ConfigurationError

__all__ = ["Rate"]


class Rate:
    """The learning rate of an optimizer, which may be made of others.

    Of a ``MultiOptimizer`` it is the first one's, and setting it keeps the ratio to the others'.

    Args:
        optimizer: The optimizer.
    """

    def __init__(self, optimizer: Any) -> None:
        inner = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
        self._optimizers = list(getattr(inner, "optimizers", None) or [inner])

    @property
    def schedule(self) -> str:
        """What sets the rate by itself, or an empty string."""
        for optimizer in self._optimizers:
            if not isinstance(optimizer.learning_rate, keras.Variable):
                given = optimizer.get_config()["learning_rate"]
                kind = given["class_name"] if isinstance(given, dict) else "a function"
                return f"{type(optimizer).__name__}(learning_rate={kind}(...))"
        return ""

    @property
    def value(self) -> float:
        """The rate now; what a schedule gives for the steps done."""
        return float(keras.ops.convert_to_numpy(self._optimizers[0].learning_rate))

    @value.setter
    def value(self, rate: float) -> None:
        if self.schedule:
            raise ConfigurationError(
                f"{self.schedule} sets the learning rate anew in every step, so a callback cannot; "
                "compile with a number for it, or leave the callback out"
            )
        before = self.value
        for optimizer in self._optimizers[1:]:
            own = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            optimizer.learning_rate = own / before * rate if before else rate
        self._optimizers[0].learning_rate = rate
