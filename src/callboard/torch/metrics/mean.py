"""Metrics that are a mean over samples, and the sums that they are made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from callboard._core.errors import DataError
from callboard._core.monitor import Mode
from callboard._core.names import snake_case
from callboard.torch.arrays import widened
from callboard.torch.losses.loss import of_one_type, weights_like
from callboard.torch.metrics.metric import Metric, Result

__all__ = ["Mean", "MeanMetric", "MeanMetricWrapper", "Sum", "sum_and_count"]


def sum_and_count(
    values: Tensor, sample_weight: Tensor | float | None = None
) -> tuple[Tensor, Result]:
    """Return the weighted sum over samples and what it has to be divided by for the mean.

    Args:
        values: Shape (batch, ...); all axes but the first are averaged. A 0-d tensor is one sample.
        sample_weight: One weight for each sample, or for each of its parts.

    Returns:
        Two 0-d tensors; without weights the second is the number of samples, a Python number.

    Example:
        >>> sum_and_count(torch.tensor([1.0, 4.0]))
        (tensor(5.), 2)
        >>> sum_and_count(torch.tensor([1.0, 4.0]), torch.tensor([3.0, 1.0]))
        (tensor(7.), tensor(4.))
    """
    values = widened(values)
    samples = values.shape[0] if values.ndim else 1
    if sample_weight is None:
        total = values.sum()
        parts = values.numel() // max(samples, 1)
        return (total if parts <= 1 else total / parts), samples
    if not values.is_floating_point():
        values = values.float()
    weight = weights_like(values, sample_weight)
    # All axes but the first are averaged, those that the weights have and those they lack.
    total, count = (values * weight).sum(), weight.expand(values.shape).sum()
    parts = max(values.numel() // max(samples, 1), 1)
    return total / parts, count / parts


class Mean(Metric):
    """Weighted mean of values that are given to it.

    Args:
        name: Name in the logs.

    Example:
        >>> mean = Mean()
        >>> mean.update_state(torch.tensor([1.0, 3.0]))
        >>> mean.update_state(6.0, sample_weight=2)
        >>> mean.result()
        tensor(4.)

    Source: Keras 3.15 ``keras.metrics.Mean``.
    """

    total: Result
    count: Result

    def __init__(self, name: str = "mean") -> None:
        super().__init__(name)
        self.add_state("total")
        self.add_state("count")

    def update_state(
        self, values: Tensor | float, sample_weight: Tensor | float | None = None
    ) -> None:
        """Add values.

        Args:
            values: Shape (batch, ...), averaged over all axes but the first, or a single number.
            sample_weight: One weight for each sample.
        """
        total, count = sum_and_count(torch.as_tensor(values), sample_weight)
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
        >>> total.update_state(torch.tensor([1.0, 3.0]))
        >>> total.result()
        tensor(4.)

    Source: Keras 3.15 ``keras.metrics.Sum``.
    """

    total: Result

    def __init__(self, name: str = "sum") -> None:
        super().__init__(name)
        self.add_state("total")

    def update_state(
        self, values: Tensor | float, sample_weight: Tensor | float | None = None
    ) -> None:
        """Add values of any shape, each times the weight of its sample."""
        values = widened(torch.as_tensor(values))
        if sample_weight is not None:
            values = values if values.is_floating_point() else values.float()
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
        ...         return (y_true - y_pred).abs() <= 1
        >>> metric = WithinOne()
        >>> metric.batch_sum(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 4.0]))
        (tensor(1), 2)
        >>> metric(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 4.0]))
        tensor(0.5000)
    """

    total: Result
    count: Result
    softmax_invariant: bool = False

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name)
        self.add_state("total")
        self.add_state("count")

    @abstractmethod
    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the value of each sample, shape (batch,), or of its parts, (batch, ...)."""

    def batch_sum(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Result]:
        """Return the sum and the count of a batch; the state stays as it is.

        Args:
            y_true: Targets, shape (batch, ...).
            y_pred: Predictions, shape (batch, ...).
            sample_weight: Weights, shape (batch,) or that of the values.

        Returns:
            The weighted sum, a 0-d tensor, and the sum of the weights, a 0-d tensor, or without
            weights the number of samples, a Python int.
        """
        return sum_and_count(self.values(y_true, y_pred), sample_weight)

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
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
        >>> from callboard.torch.losses import huber
        >>> metric = MeanMetricWrapper(huber, direction="min", delta=2.0)
        >>> metric(torch.tensor([[0.0]]), torch.tensor([[1.0]])), metric.name
        (tensor(0.5000), 'huber')

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

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return what the function returns.

        Raises:
            DataError: If that is not a tensor of shape () or (batch, ...).
        """
        values = self._fn(*of_one_type(y_true, y_pred), **self._kwargs)
        samples = y_pred.shape[0] if y_pred.ndim else 1
        if not isinstance(values, Tensor) or (values.ndim and values.shape[0] != samples):
            shape = getattr(values, "shape", None)
            what = type(values).__name__ if shape is None else f"shape {tuple(shape)}"
            raise DataError(
                f"the metric function {self.name!r} must return a tensor of shape ({samples},), a "
                f"value per sample, or (), their mean; it returned {what}"
            )
        return values

    def batch_sum(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> tuple[Tensor, Result]:
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
    if isinstance(count, Tensor):
        return torch.where(count == 0, 0.0, total / count)
    return total / count if count else 0.0
