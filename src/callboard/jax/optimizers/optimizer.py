"""What ``model.optimizer`` is: the optimizer's learning rate and count, as in Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callboard._core.learning_rate import LearningRate
from callboard.jax.arrays import to_array
from callboard.jax.leaves import leaves_of

if TYPE_CHECKING:
    from callboard.jax.trainable import JaxTrainable

__all__ = ["Optimizer"]


class Optimizer:
    """The optimizer of a state of JAX, as callbacks written for Keras use it.

    Args:
        trainable: What holds the state with the optimizer's.
        wrapped: The optimizer of optax, if the model was given one.
        name: What it is called, if that is known: optimizers of optax have no names.

    Attributes:
        wrapped: That optimizer.
        name: What it is called, or an empty string.
    """

    def __init__(self, trainable: JaxTrainable, wrapped: Any = None, name: str = "") -> None:
        self._trainable = trainable
        self.wrapped = wrapped
        self.name = name

    @property
    def learning_rate(self) -> LearningRate:
        """The learning rate. Setting it compiles nothing anew."""
        return LearningRate(self._trainable.learning_rate, self._set_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._set_rate(value)

    @property
    def lr(self) -> LearningRate:
        """The same as ``learning_rate``."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: float) -> None:
        self._set_rate(value)

    @property
    def iterations(self) -> int:
        """Number of updates made, as the optimizer itself counts them; 0 if it does not."""
        counts = [
            leaf.value
            for leaf in leaves_of(self._trainable.state)
            if leaf.role == "optimizer" and leaf.path[-1] in ("count", "step", "gradient_step")
        ]
        return max((int(to_array(count)) for count in counts), default=0)

    def _set_rate(self, value: float) -> None:
        self._trainable.learning_rate = value
