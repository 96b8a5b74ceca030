"""Losses between numbers: how far predictions are from targets."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

from callboard._core.errors import ConfigurationError
from callboard.torch.losses.loss import EPSILON, Loss, Reduction, elementwise

__all__ = [
    "Huber",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
]


def mean_squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean of (y_true - y_pred)² over the last axis.

    Example:
        >>> mean_squared_error(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 1.0]]))
        tensor([2.])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return F.mse_loss(y_pred, y_true, reduction="none").mean(-1)


def mean_absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean of |y_true - y_pred| over the last axis.

    Example:
        >>> mean_absolute_error(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 1.0]]))
        tensor([1.])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return F.l1_loss(y_pred, y_true, reduction="none").mean(-1)


def mean_absolute_percentage_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of 100 |y_true - y_pred| / |y_true|, in percent.

    Example:
        >>> mean_absolute_percentage_error(torch.tensor([[4.0]]), torch.tensor([[5.0]]))
        tensor([25.])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return 100.0 * ((y_true - y_pred) / y_true.abs().clamp(min=EPSILON)).abs().mean(-1)


def mean_squared_logarithmic_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of (log(y_true + 1) - log(y_pred + 1))².

    Negative numbers count as 0.

    Example:
        >>> mean_squared_logarithmic_error(torch.tensor([[0.0]]), torch.tensor([[math.e - 1]]))
        tensor([1.0000])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    logs = (torch.log1p(y.clamp(min=EPSILON)) for y in (y_pred, y_true))
    return (next(logs) - next(logs)).square().mean(-1)


def huber(y_true: Tensor, y_pred: Tensor, delta: float = 1.0) -> Tensor:
    """Return the mean over the last axis of e²/2 if |e| ≤ delta, else delta |e| - delta²/2.

    Example:
        >>> huber(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [3.0]]))
        tensor([0.5000, 2.5000])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return F.huber_loss(y_pred, y_true, reduction="none", delta=delta).mean(-1)


def log_cosh(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of log(cosh(y_pred - y_true)).

    Example:
        >>> log_cosh(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
        tensor([0.4338])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    error = y_pred - y_true
    # log((e^x + e^-x) / 2) without the exponentials, which overflow from |x| = 89 on.
    return (error + F.softplus(-2.0 * error) - math.log(2.0)).mean(-1)


def poisson(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of y_pred - y_true log(y_pred).

    Example:
        >>> poisson(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
        tensor([1.0000])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return (y_pred - y_true * torch.log(y_pred + EPSILON)).mean(-1)


class MeanSquaredError(Loss):
    """Mean of the squared errors.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanSquaredError()(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 1.0]]))
        tensor(2.)

    Source: Keras 3.15 ``keras.losses.MeanSquaredError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_squared_error``."""
        return mean_squared_error(y_true, y_pred)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over the batch, in one kernel."""
        y_true, y_pred = elementwise(y_true, y_pred)
        return F.mse_loss(y_pred, y_true)


class MeanAbsoluteError(Loss):
    """Mean of the absolute errors.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanAbsoluteError()(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 1.0]]))
        tensor(1.)

    Source: Keras 3.15 ``keras.losses.MeanAbsoluteError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_absolute_error``."""
        return mean_absolute_error(y_true, y_pred)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over the batch, in one kernel."""
        y_true, y_pred = elementwise(y_true, y_pred)
        return F.l1_loss(y_pred, y_true)


class MeanAbsolutePercentageError(Loss):
    """Mean of the absolute errors in percent of the targets.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanAbsolutePercentageError()(torch.tensor([[4.0]]), torch.tensor([[5.0]]))
        tensor(25.)

    Source: Keras 3.15 ``keras.losses.MeanAbsolutePercentageError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_absolute_percentage_error``."""
        return mean_absolute_percentage_error(y_true, y_pred)


class MeanSquaredLogarithmicError(Loss):
    """Mean of the squared differences of log(y + 1), for targets ≥ 0 of many magnitudes.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanSquaredLogarithmicError()(torch.tensor([[0.0]]), torch.tensor([[math.e - 1]]))
        tensor(1.0000)

    Source: Keras 3.15 ``keras.losses.MeanSquaredLogarithmicError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``mean_squared_logarithmic_error``."""
        return mean_squared_logarithmic_error(y_true, y_pred)


class Huber(Loss):
    """Squared error near the target, absolute error far from it: robust against outliers.

    Args:
        delta: Error at which one turns into the other, > 0, in the unit of the targets.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Raises:
        ConfigurationError: If ``delta`` is not greater than 0.

    Example:
        >>> Huber()(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [3.0]]))
        tensor(1.5000)

    Source: Keras 3.15 ``keras.losses.Huber``.
    """

    def __init__(
        self,
        delta: float = 1.0,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "huber_loss",
    ) -> None:
        super().__init__(name, reduction)
        if not delta > 0:
            raise ConfigurationError(f"Huber's delta must be greater than 0; got {delta!r}")
        self.delta = delta

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``huber``."""
        return huber(y_true, y_pred, self.delta)

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over the batch, in one kernel."""
        y_true, y_pred = elementwise(y_true, y_pred)
        return F.huber_loss(y_pred, y_true, delta=self.delta)


class LogCosh(Loss):
    """Logarithm of the hyperbolic cosine of the error: like Huber, but smooth.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> LogCosh()(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
        tensor(0.4338)

    Source: Keras 3.15 ``keras.losses.LogCosh``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "log_cosh"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``log_cosh``."""
        return log_cosh(y_true, y_pred)


class Poisson(Loss):
    """Negative log-likelihood of counts under a Poisson distribution with mean ``y_pred``.

    The term that depends on the targets only is left out.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> Poisson()(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
        tensor(1.0000)

    Source: Keras 3.15 ``keras.losses.Poisson``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "poisson"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``poisson``."""
        return poisson(y_true, y_pred)
