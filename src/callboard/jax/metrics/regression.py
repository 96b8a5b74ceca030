"""Metrics of predictions that are numbers."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from callboard._core.monitor import Mode
from callboard.jax import losses
from callboard.jax.losses.loss import EPSILON, aligned, elementwise
from callboard.jax.metrics.mean import MeanMetric
from callboard.jax.metrics.metric import Result

__all__ = [
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "PearsonCorrelation",
    "RootMeanSquaredError",
    "concordance_correlation",
    "cosine_similarity",
    "pearson_correlation",
]


def cosine_similarity(y_true: Array, y_pred: Array, axis: int = -1) -> Array:
    """Return the cosine of the angle between the vectors along ``axis``: 1 if they agree.

    Example:
        >>> cosine_similarity(jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 3.0]]))
        Array([1.], dtype=float32)
    """
    return -losses.cosine_similarity(y_true, y_pred, axis)


def pearson_correlation(y_true: Array, y_pred: Array, axis: int = -1) -> Array:
    """Return the linear correlation along ``axis``, from -1 to 1.

    Example:
        >>> pearson_correlation(jnp.array([[0.0, 1.0, 2.0]]), jnp.array([[1.0, 3.0, 5.0]]))
        Array([1.], dtype=float32)
    """
    y_true, y_pred = (y - y.mean(axis, keepdims=True) for y in aligned(y_true, y_pred))
    covariance = (y_true * y_pred).mean(axis)
    return covariance / (
        jnp.sqrt(jnp.square(y_true).mean(axis)) * jnp.sqrt(jnp.square(y_pred).mean(axis))
    )


def concordance_correlation(y_true: Array, y_pred: Array, axis: int = -1) -> Array:
    """Return Lin's concordance along ``axis``: the correlation, less for shift and scale.

    Example:
        >>> y_true = jnp.array([[0.0, 1.0, 2.0]])
        >>> concordance_correlation(y_true, y_true + 1)
        Array([0.57142854], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred)
    shift = y_true.mean(axis) - y_pred.mean(axis)
    y_true, y_pred = (y - y.mean(axis, keepdims=True) for y in (y_true, y_pred))
    spread = jnp.square(y_true).mean(axis) + jnp.square(y_pred).mean(axis) + jnp.square(shift)
    return 2.0 * (y_true * y_pred).mean(axis) / (spread + EPSILON)


class MeanSquaredError(MeanMetric):
    """Mean of the squared errors.

    Args:
        name: Name in the logs.

    Example:
        >>> MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]])
        Array(2., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.MeanSquaredError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``mean_squared_error``."""
        return losses.mean_squared_error(y_true, y_pred)


class RootMeanSquaredError(MeanMetric):
    """Square root of the mean of the squared errors, in the unit of the targets.

    Args:
        name: Name in the logs.

    Example:
        >>> RootMeanSquaredError()([[0.0], [0.0]], [[3.0], [3.0]])
        Array(3., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.RootMeanSquaredError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return the squared errors."""
        y_true, y_pred = elementwise(y_true, y_pred)
        return jnp.square(y_pred - y_true)

    def result(self) -> Result:
        """Return the square root of the mean over all samples so far."""
        return jnp.sqrt(jnp.asarray(super().result()))


class MeanAbsoluteError(MeanMetric):
    """Mean of the absolute errors.

    Args:
        name: Name in the logs.

    Example:
        >>> MeanAbsoluteError()([[0.0, 1.0]], [[2.0, 1.0]])
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.MeanAbsoluteError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``mean_absolute_error``."""
        return losses.mean_absolute_error(y_true, y_pred)


class MeanAbsolutePercentageError(MeanMetric):
    """Mean of the absolute errors in percent of the targets.

    Args:
        name: Name in the logs.

    Example:
        >>> MeanAbsolutePercentageError()([[4.0]], [[5.0]])
        Array(25., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.MeanAbsolutePercentageError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_absolute_percentage_error") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``mean_absolute_percentage_error``."""
        return losses.mean_absolute_percentage_error(y_true, y_pred)


class MeanSquaredLogarithmicError(MeanMetric):
    """Mean of the squared differences of log(y + 1).

    Args:
        name: Name in the logs.

    Example:
        >>> MeanSquaredLogarithmicError()([[0.0]], [[1.71828]])
        Array(0.99999833, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.MeanSquaredLogarithmicError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_squared_logarithmic_error") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``mean_squared_logarithmic_error``."""
        return losses.mean_squared_logarithmic_error(y_true, y_pred)


class LogCoshError(MeanMetric):
    """Mean of log(cosh(error)).

    Args:
        name: Name in the logs.

    Example:
        >>> LogCoshError()([[0.0]], [[1.0]])
        Array(0.4337808, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.LogCoshError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "logcosh") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``log_cosh``."""
        return losses.log_cosh(y_true, y_pred)


class CosineSimilarity(MeanMetric):
    """Mean cosine of the angle between targets and predictions; 1 is best, unlike the loss.

    Args:
        name: Name in the logs.
        axis: Axis of the vectors' components.

    Example:
        >>> CosineSimilarity()([[0.0, 1.0]], [[0.0, 3.0]])
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.CosineSimilarity``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "cosine_similarity", axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return the cosines."""
        return cosine_similarity(y_true, y_pred, self.axis)


class PearsonCorrelation(MeanMetric):
    """Mean linear correlation between targets and predictions along an axis.

    Args:
        name: Name in the logs.
        axis: Axis along which to correlate.

    Example:
        >>> PearsonCorrelation()([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]])
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.PearsonCorrelation``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "pearson_correlation", axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``pearson_correlation``."""
        return pearson_correlation(y_true, y_pred, self.axis)


class ConcordanceCorrelation(MeanMetric):
    """Mean concordance between targets and predictions along an axis.

    Args:
        name: Name in the logs.
        axis: Axis along which to correlate.

    Example:
        >>> ConcordanceCorrelation()([[0.0, 1.0, 2.0]], [[1.0, 2.0, 3.0]])
        Array(0.57142854, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.ConcordanceCorrelation``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "concordance_correlation", axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``concordance_correlation``."""
        return concordance_correlation(y_true, y_pred, self.axis)
