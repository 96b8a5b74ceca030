"""Metrics of predictions that are numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

from callboard._core.monitor import Mode
from callboard.torch import losses
from callboard.torch.losses.loss import EPSILON, aligned, elementwise
from callboard.torch.metrics.mean import MeanMetric
from callboard.torch.metrics.metric import Result

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


def cosine_similarity(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return the cosine of the angle between the vectors along ``axis``: 1 if they agree.

    Example:
        >>> cosine_similarity(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 3.0]]))
        tensor([1.])
    """
    return -losses.cosine_similarity(y_true, y_pred, axis)


def pearson_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return the linear correlation along ``axis``, from -1 to 1.

    Example:
        >>> pearson_correlation(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 3.0, 5.0]]))
        tensor([1.])
    """
    y_true, y_pred = (y - y.mean(axis, keepdim=True) for y in aligned(y_true, y_pred))
    covariance = (y_true * y_pred).mean(axis)
    return covariance / (y_true.square().mean(axis).sqrt() * y_pred.square().mean(axis).sqrt())


def concordance_correlation(y_true: Tensor, y_pred: Tensor, axis: int = -1) -> Tensor:
    """Return Lin's concordance along ``axis``: the correlation, less for shift and scale.

    Example:
        >>> y_true = torch.tensor([[0.0, 1.0, 2.0]])
        >>> concordance_correlation(y_true, y_true + 1)
        tensor([0.5714])
    """
    y_true, y_pred = aligned(y_true, y_pred)
    shift = y_true.mean(axis) - y_pred.mean(axis)
    y_true, y_pred = (y - y.mean(axis, keepdim=True) for y in (y_true, y_pred))
    spread = y_true.square().mean(axis) + y_pred.square().mean(axis) + shift.square()
    return 2.0 * (y_true * y_pred).mean(axis) / (spread + EPSILON)


class MeanSquaredError(MeanMetric):
    """Mean of the squared errors.

    Args:
        name: Name in the logs.

    Example:
        >>> MeanSquaredError()([[0.0, 1.0]], [[2.0, 1.0]])
        tensor(2.)

    Source: Keras 3.15 ``keras.metrics.MeanSquaredError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_squared_error``."""
        return losses.mean_squared_error(y_true, y_pred)


class RootMeanSquaredError(MeanMetric):
    """Square root of the mean of the squared errors, in the unit of the targets.

    Args:
        name: Name in the logs.

    Example:
        >>> RootMeanSquaredError()([[0.0], [0.0]], [[3.0], [3.0]])
        tensor(3.)

    Source: Keras 3.15 ``keras.metrics.RootMeanSquaredError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the squared errors."""
        y_true, y_pred = elementwise(y_true, y_pred)
        return F.mse_loss(y_pred, y_true, reduction="none")

    def result(self) -> Result:
        """Return the square root of the mean over all samples so far."""
        return torch.as_tensor(super().result()).sqrt()


class MeanAbsoluteError(MeanMetric):
    """Mean of the absolute errors.

    Args:
        name: Name in the logs.

    Example:
        >>> MeanAbsoluteError()([[0.0, 1.0]], [[2.0, 1.0]])
        tensor(1.)

    Source: Keras 3.15 ``keras.metrics.MeanAbsoluteError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_absolute_error``."""
        return losses.mean_absolute_error(y_true, y_pred)


class MeanAbsolutePercentageError(MeanMetric):
    """Mean of the absolute errors in percent of the targets.

    Args:
        name: Name in the logs.

    Example:
        >>> MeanAbsolutePercentageError()([[4.0]], [[5.0]])
        tensor(25.)

    Source: Keras 3.15 ``keras.metrics.MeanAbsolutePercentageError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_absolute_percentage_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_absolute_percentage_error``."""
        return losses.mean_absolute_percentage_error(y_true, y_pred)


class MeanSquaredLogarithmicError(MeanMetric):
    """Mean of the squared differences of log(y + 1).

    Args:
        name: Name in the logs.

    Example:
        >>> MeanSquaredLogarithmicError()([[0.0]], [[1.71828]])
        tensor(1.0000)

    Source: Keras 3.15 ``keras.metrics.MeanSquaredLogarithmicError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "mean_squared_logarithmic_error") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_squared_logarithmic_error``."""
        return losses.mean_squared_logarithmic_error(y_true, y_pred)


class LogCoshError(MeanMetric):
    """Mean of log(cosh(error)).

    Args:
        name: Name in the logs.

    Example:
        >>> LogCoshError()([[0.0]], [[1.0]])
        tensor(0.4338)

    Source: Keras 3.15 ``keras.metrics.LogCoshError``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "logcosh") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``log_cosh``."""
        return losses.log_cosh(y_true, y_pred)


class CosineSimilarity(MeanMetric):
    """Mean cosine of the angle between targets and predictions; 1 is best, unlike the loss.

    Args:
        name: Name in the logs.
        axis: Axis of the vectors' components.

    Example:
        >>> CosineSimilarity()([[0.0, 1.0]], [[0.0, 3.0]])
        tensor(1.)

    Source: Keras 3.15 ``keras.metrics.CosineSimilarity``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "cosine_similarity", axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the cosines."""
        return cosine_similarity(y_true, y_pred, self.axis)


class PearsonCorrelation(MeanMetric):
    """Mean linear correlation between targets and predictions along an axis.

    Args:
        name: Name in the logs.
        axis: Axis along which to correlate.

    Example:
        >>> PearsonCorrelation()([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]])
        tensor(1.)

    Source: Keras 3.15 ``keras.metrics.PearsonCorrelation``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "pearson_correlation", axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``pearson_correlation``."""
        return pearson_correlation(y_true, y_pred, self.axis)


class ConcordanceCorrelation(MeanMetric):
    """Mean concordance between targets and predictions along an axis.

    Args:
        name: Name in the logs.
        axis: Axis along which to correlate.

    Example:
        >>> ConcordanceCorrelation()([[0.0, 1.0, 2.0]], [[1.0, 2.0, 3.0]])
        tensor(0.5714)

    Source: Keras 3.15 ``keras.metrics.ConcordanceCorrelation``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "concordance_correlation", axis: int = -1) -> None:
        super().__init__(name)
        self.axis = axis

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``concordance_correlation``."""
        return concordance_correlation(y_true, y_pred, self.axis)
