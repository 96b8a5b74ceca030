"""The coefficient of determination."""

from __future__ import annotations

import warnings
from typing import Literal

import jax.numpy as jnp
from jax import Array

from callboard._core.errors import ConfigurationError, DataError, UnknownNameError
from callboard._core.monitor import Mode
from callboard.jax.losses.loss import elementwise, weights_like
from callboard.jax.metrics.metric import Metric, Result

__all__ = ["R2Score"]

Aggregation = Literal["uniform_average", "variance_weighted_average"]


class R2Score(Metric):
    """R²: the share of the targets' variance that predictions explain; 1 is best.

    Args:
        class_aggregation: How to average over outputs, "uniform_average" or
            "variance_weighted_average"; None gives a score for each output, which logs cannot
            hold if there are several.
        num_regressors: Number of independent variables for the adjusted R²; 0 for the plain one.
        name: Name in the logs.

    Raises:
        UnknownNameError: For an unknown aggregation.
        ConfigurationError: If ``num_regressors`` is negative.

    Example:
        >>> R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
        Array(0.57142854, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.R2Score``; targets of shape (batch,) are taken too.
    """

    direction: Mode | None = "max"
    squared_sum: Result
    sum: Result
    total_mse: Result
    count: Result
    num_samples: Result

    def __init__(
        self,
        class_aggregation: Aggregation | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
    ) -> None:
        super().__init__(name)
        allowed = ("uniform_average", "variance_weighted_average")
        if class_aggregation is not None and class_aggregation not in allowed:
            raise UnknownNameError("class_aggregation", class_aggregation, allowed)
        if num_regressors < 0:
            raise ConfigurationError(f"num_regressors must be 0 or more; got {num_regressors!r}")
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        for part in ("squared_sum", "sum", "total_mse", "count", "num_samples"):
            self.add_state(part)

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: Targets, shape (batch, outputs) or (batch,).
            y_pred: Predictions; same shape.
            sample_weight: One weight for each sample.

        Raises:
            DataError: For other shapes.
        """
        y_true, y_pred = elementwise(y_true, y_pred)
        if y_pred.ndim != 2:
            raise DataError(
                f"R2Score needs targets and predictions of shape (batch, outputs); got "
                f"{tuple(y_pred.shape)}"
            )
        weight = jnp.ones_like(y_true)
        if sample_weight is not None:
            weight = jnp.broadcast_to(weights_like(y_pred, sample_weight), y_pred.shape)
        self.accumulate(
            sum=(y_true * weight).sum(0),
            squared_sum=(jnp.square(y_true) * weight).sum(0),
            total_mse=(jnp.square(y_true - y_pred) * weight).sum(0),
            count=weight.sum(0),
            num_samples=y_true.size,
        )

    def result(self) -> Result:
        """Return the score, 0 before the first batch."""
        if not isinstance(self.sum, Array) or not self.sum.ndim:
            return 0.0
        total = jnp.asarray(self.squared_sum - self.sum * (self.sum / self.count))
        scores = 1.0 - self.total_mse / total
        score = self._aggregated(jnp.where(jnp.isinf(scores), 0.0, scores), total)
        return self._adjusted(score) if self.num_regressors else score

    def _aggregated(self, scores: Array, total: Array) -> Array:
        if self.class_aggregation is None:
            return scores
        if self.class_aggregation == "uniform_average":
            return scores.mean()
        return (total * scores).sum() / total.sum()

    def _adjusted(self, score: Array) -> Array:
        freedom = float(self.num_samples) - self.num_regressors - 1.0
        if freedom <= 0:
            warnings.warn(
                f"R2Score(num_regressors={self.num_regressors}) needs more samples than "
                f"{self.num_regressors + 1} for the adjusted score; this is the plain one",
                stacklevel=3,
            )
            return score
        return 1.0 - (1.0 - score) * (float(self.num_samples) - 1.0) / freedom
