"""Metrics that are a mean over samples, and the sums that they are made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from callboard._core.errors import DataError
from callboard._core.monitor import Mode
from callboard._core.names import snake_case
from callboard.jax.losses.loss import weights_like
from callboard.jax.metrics.metric import Metric, Result

__all__ = ["Mean", "MeanMetric", "MeanMetricWrapper", "Sum", "sum_and_count"]

_HALF = (jnp.float16, jnp.bfloat16)


def sum_and_count(
    values: Array, sample_weight: Array | float | None = None
) -> tuple[Array, Result]:
    """Return the weighted sum over samples and what it has to be divided by for the mean.

    Args:
        values: Shape (batch, ...); all axes but the first are averaged. A 0-d array is one sample.
        sample_weight: One weight for each sample, or for each of its parts.

    Returns:
        Two 0-d arrays; without weights the second is the number of samples, a Python number.

    Example:
        >>> sum_and_count(jnp.array([1.0, 4.0]))
        (Array(5., dtype=float32), 2)
        >>> sum_and_count(jnp.array([1.0, 4.0]), jnp.array([3.0, 1.0]))
        (Array(7., dtype=float32), Array(4., dtype=float32))
    """
    if values.dtype in _HALF:
        values = values.astype(jnp.float32)
    samples = values.shape[0] if values.ndim else 1
    if sample_weight is None:
        total = values.sum()
        parts = values.size // max(samples, 1)
        return (total if parts <= 1 else total / parts), samples
    if not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.float32)
    weight = weights_like(values, sample_weight)
    # All axes but the first are averaged, those that the weights have and those they lack.
    total, count = (values * weight).sum(), jnp.broadcast_to(weight, values.shape).sum()
    parts = max(values.size // max(samples, 1), 1)
    return total / parts, count / parts


class Mean(Metric):
    """Weighted mean of values that are given to it.

    Args:
        name: Name in the logs.

    Example:
        >>> mean = Mean()
        >>> mean.update_state(jnp.array([1.0, 3.0]))
        >>> mean.update_state(6.0, sample_weight=2)
        >>> mean.result()
        Array(4., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.Mean``.
    """

    total: Result
    count: Result

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)
        self.add_state("total")
        self.add_state("count")

    def update_state(
        self, values: Array | float, sample_weight: Array | float | None = None
    ) -> None:
        """Add values.

        Args:
            values: Shape (batch, ...), averaged over all axes but the first, or a single number.
            sample_weight: One weight for each sample.
        """
        total, count = sum_and_count(jnp.asarray(values), sample_weight)
        self.accumulate(total=total, count=count)

    def result(self) -> Result:
        """Return the mean, 0 before the first value."""
        return _quotient(self.total, self.count)


class Sum(Metric):
    """Weighted sum of values that are given to it.

    Args:
        name: Name in the logs.

    Example:
        >>> total = Sum()
        >>> total.update_state(jnp.array([1.0, 3.0]))
        >>> total.result()
        Array(4., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.Sum``.
    """

    total: Result

    def __init__(self, name: str = "sum") -> None:
        super().__init__(name)
        self.add_state("total")

    def update_state(
        self, values: Array | float, sample_weight: Array | float | None = None
    ) -> None:
        """Add values of any shape, each times the weight of its sample."""
        values = jnp.asarray(values)
        if values.dtype in _HALF or (
            sample_weight is not None and not jnp.issubdtype(values.dtype, jnp.floating)
        ):
            values = values.astype(jnp.float32)
        if sample_weight is not None:
            values = values * weights_like(values, sample_weight)
        self.accumulate(total=values.sum())

    def result(self) -> Result:
        """Return the sum."""
        return self.total


class MeanMetric(Metric):
    """A metric that is the mean of a value per sample. Subclass it with one method, ``values``.

    For a train step that is compiled as a whole there is a functional form: ``batch_sum`` gives
    the sums of a batch, and ``accumulate(total=..., count=...)`` adds sums from anywhere.

    Args:
        name: Name in the logs; by default the class's in snake case.

    Attributes:
        total: Weighted sum of the values so far.
        count: Sum of the weights so far; without weights the number of samples.
        softmax_invariant: The values are the same for what goes into a final softmax as for what
            comes out of it, so that a train step need not compute the softmax.

    Example:
        >>> class WithinOne(MeanMetric):
        ...     direction = "max"
        ...     def values(self, y_true, y_pred):
        ...         return jnp.abs((y_true - y_pred)) <= 1
        >>> metric = WithinOne()
        >>> metric.batch_sum(jnp.array([1.0, 2.0]), jnp.array([1.5, 4.0]))
        (Array(1, dtype=int32), 2)
        >>> metric(jnp.array([1.0, 2.0]), jnp.array([1.5, 4.0]))
        Array(0.5, dtype=float32)
    """

    total: Result
    count: Result
    softmax_invariant: bool = False

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("total")
        self.add_state("count")

    @abstractmethod
    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return the value of each sample, shape (batch,), or of its parts, (batch, ...)."""

    def batch_sum(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[Array, Result]:
        """Return the sum and the count of a batch; the state stays as it is.

        Args:
            y_true: Targets, shape (batch, ...).
            y_pred: Predictions, shape (batch, ...).
            sample_weight: Weights, shape (batch,) or that of the values.

        Returns:
            The weighted sum, a 0-d array, and the sum of the weights, a 0-d array, or without
            weights the number of samples, a Python int.
        """
        return sum_and_count(self.values(y_true, y_pred), sample_weight)

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Add a batch; arguments as for ``batch_sum``."""
        total, count = self.batch_sum(y_true, y_pred, sample_weight)
        self.accumulate(total=total, count=count)

    def result(self) -> Result:
        """Return the mean over all samples so far, 0 before the first."""
        return _quotient(self.total, self.count)


class MeanMetricWrapper(MeanMetric):
    """The mean of a function ``fn(y_true, y_pred)``.

    Args:
        fn: Returns a value per sample, shape (batch, ...), or the mean of the batch, shape ().
        name: Name in the logs; by default the function's.
        direction: "min" if lower is better, "max" if higher is.
        kwargs: Passed on to ``fn``.

    Example:
        >>> from callboard.jax.losses import huber
        >>> metric = MeanMetricWrapper(huber, direction="min", delta=2.0)
        >>> metric(jnp.array([[0.0]]), jnp.array([[1.0]])), metric.name
        (Array(0.5, dtype=float32), 'huber')

    Source: Keras 3.15 ``keras.metrics.MeanMetricWrapper``. A mean of a batch counts as many times
        as the batch has samples; Keras counts it once.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        *,
        direction: Mode | None = None,
        **kwargs: Any,
    ) -> None:
        own = getattr(fn, "name", None) or getattr(fn, "__name__", None)
        super().__init__(name or snake_case(own if isinstance(own, str) else type(fn).__name__))
        self.direction = direction
        self._fn = fn
        self._kwargs = kwargs

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return what the function returns.

        Raises:
            DataError: If that is not an array of shape () or (batch, ...).
        """
        values = self._fn(y_true, y_pred, **self._kwargs)
        samples = y_pred.shape[0] if y_pred.ndim else 1
        if not isinstance(values, Array) or (values.ndim and values.shape[0] != samples):
            shape = getattr(values, "shape", None)
            what = type(values).__name__ if shape is None else f"shape {tuple(shape)}"
            raise DataError(
                f"the metric function {self.name!r} must return an array of shape ({samples},), a "
                f"value per sample, or (), their mean; it returned {what}"
            )
        return values

    def batch_sum(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[Array, Result]:
        """Return the sum and the count of a batch, as for every mean.

        Raises:
            ConfigurationError: For weights with a function that returns the mean of the batch.
        """
        values = self.values(y_true, y_pred)
        if values.ndim:
            return sum_and_count(values, sample_weight)
        samples = y_pred.shape[0] if y_pred.ndim else 1
        total, count = sum_and_count(values, sample_weight)
        return total * samples, count * samples


def _quotient(total: Result, count: Result) -> Result:
    if isinstance(count, Array):
        return jnp.where(count == 0, 0.0, total / count)
    return total / count if count else 0.0
