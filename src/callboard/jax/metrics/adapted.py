"""Losses as metrics."""

from __future__ import annotations

from jax import Array

from callboard._core.errors import ConfigurationError
from callboard._core.monitor import Mode
from callboard.jax.losses.loss import Loss
from callboard.jax.metrics.mean import MeanMetric

__all__ = ["LossMetric"]


class LossMetric(MeanMetric):
    """A loss as a metric: its mean over samples.

    Args:
        loss: The loss.
        name: Name in the logs; by default the loss's.

    Example:
        >>> import jax.numpy as jnp
        >>> from callboard.jax.losses import Huber
        >>> metric = LossMetric(Huber(delta=2.0))
        >>> metric(jnp.array([[0.0]]), jnp.array([[1.0]])), metric.name
        (Array(0.5, dtype=float32), 'huber_loss')
    """

    direction: Mode | None = "min"

    def __init__(self, loss: Loss, name: str | None = None) -> None:
        super().__init__(name or loss.name)
        self._loss = loss

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return the loss of each sample.

        Raises:
            ConfigurationError: If the loss gives one value for a whole batch.
        """
        values = self._loss.per_sample(y_true, y_pred)
        if not values.ndim:
            raise ConfigurationError(
                f"the loss {self.name!r} gives a single value for a batch, so it cannot be a "
                "metric; use one with a value per sample"
            )
        return values
