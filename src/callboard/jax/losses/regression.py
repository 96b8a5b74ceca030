"""Losses between numbers: how far predictions are from targets."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from callboard._core.errors import ConfigurationError
from callboard.jax.losses.loss import EPSILON, Loss, Reduction, elementwise

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


def mean_squared_error(y_true: Array, y_pred: Array) -> Array:
    """Return the mean of (y_true - y_pred)² over the last axis.

    Example:
        >>> mean_squared_error(jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 1.0]]))
        Array([2.], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return jnp.square(y_pred - y_true).mean(-1)


def mean_absolute_error(y_true: Array, y_pred: Array) -> Array:
    """Return the mean of |y_true - y_pred| over the last axis.

    Example:
        >>> mean_absolute_error(jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 1.0]]))
        Array([1.], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return jnp.abs(y_pred - y_true).mean(-1)


def mean_absolute_percentage_error(y_true: Array, y_pred: Array) -> Array:
    """Return the mean over the last axis of 100 |y_true - y_pred| / |y_true|, in percent.

    Example:
        >>> mean_absolute_percentage_error(jnp.array([[4.0]]), jnp.array([[5.0]]))
        Array([25.], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return 100.0 * jnp.abs((y_true - y_pred) / jnp.maximum(jnp.abs(y_true), EPSILON)).mean(-1)


def mean_squared_logarithmic_error(y_true: Array, y_pred: Array) -> Array:
    """Return the mean over the last axis of (log(y_true + 1) - log(y_pred + 1))².

    Negative numbers count as 0.

    Example:
        >>> mean_squared_logarithmic_error(jnp.array([[0.0]]), jnp.array([[math.e - 1]]))
        Array([0.99999976], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    logs = (jnp.log1p(jnp.maximum(y, EPSILON)) for y in (y_pred, y_true))
    return jnp.square(next(logs) - next(logs)).mean(-1)


def huber(y_true: Array, y_pred: Array, delta: float = 1.0) -> Array:
    """Return the mean over the last axis of e²/2 if |e| ≤ delta, else delta |e| - delta²/2.

    Example:
        >>> huber(jnp.array([[0.0], [0.0]]), jnp.array([[1.0], [3.0]]))
        Array([0.5, 2.5], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    error = jnp.abs(y_pred - y_true)
    near = jnp.minimum(error, delta)
    return (0.5 * near * near + delta * (error - near)).mean(-1)


def log_cosh(y_true: Array, y_pred: Array) -> Array:
    """Return the mean over the last axis of log(cosh(y_pred - y_true)).

    Example:
        >>> log_cosh(jnp.array([[0.0]]), jnp.array([[1.0]]))
        Array([0.4337808], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    error = y_pred - y_true
    # log((e^x + e^-x) / 2) without the exponentials, which overflow from |x| = 89 on.
    return (error + jax.nn.softplus(-2.0 * error) - math.log(2.0)).mean(-1)


def poisson(y_true: Array, y_pred: Array) -> Array:
    """Return the mean over the last axis of y_pred - y_true log(y_pred).

    Example:
        >>> poisson(jnp.array([[1.0]]), jnp.array([[1.0]]))
        Array([0.9999999], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    return (y_pred - y_true * jnp.log(y_pred + EPSILON)).mean(-1)


class MeanSquaredError(Loss):
    """Mean of the squared errors.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanSquaredError()(jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 1.0]]))
        Array(2., dtype=float32)

    Source: Keras 3.15 ``keras.losses.MeanSquaredError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_squared_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``mean_squared_error``."""
        return mean_squared_error(y_true, y_pred)


class MeanAbsoluteError(Loss):
    """Mean of the absolute errors.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanAbsoluteError()(jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 1.0]]))
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.losses.MeanAbsoluteError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_absolute_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``mean_absolute_error``."""
        return mean_absolute_error(y_true, y_pred)


class MeanAbsolutePercentageError(Loss):
    """Mean of the absolute errors in percent of the targets.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanAbsolutePercentageError()(jnp.array([[4.0]]), jnp.array([[5.0]]))
        Array(25., dtype=float32)

    Source: Keras 3.15 ``keras.losses.MeanAbsolutePercentageError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_absolute_percentage_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``mean_absolute_percentage_error``."""
        return mean_absolute_percentage_error(y_true, y_pred)


class MeanSquaredLogarithmicError(Loss):
    """Mean of the squared differences of log(y + 1), for targets ≥ 0 of many magnitudes.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> MeanSquaredLogarithmicError()(jnp.array([[0.0]]), jnp.array([[math.e - 1]]))
        Array(0.99999976, dtype=float32)

    Source: Keras 3.15 ``keras.losses.MeanSquaredLogarithmicError``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "mean_squared_logarithmic_error",
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
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
        >>> Huber()(jnp.array([[0.0], [0.0]]), jnp.array([[1.0], [3.0]]))
        Array(1.5, dtype=float32)

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

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``huber``."""
        return huber(y_true, y_pred, self.delta)


class LogCosh(Loss):
    """Logarithm of the hyperbolic cosine of the error: like Huber, but smooth.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> LogCosh()(jnp.array([[0.0]]), jnp.array([[1.0]]))
        Array(0.4337808, dtype=float32)

    Source: Keras 3.15 ``keras.losses.LogCosh``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "log_cosh"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``log_cosh``."""
        return log_cosh(y_true, y_pred)


class Poisson(Loss):
    """Negative log-likelihood of counts under a Poisson distribution with mean ``y_pred``.

    The term that depends on the targets only is left out.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> Poisson()(jnp.array([[1.0]]), jnp.array([[1.0]]))
        Array(0.9999999, dtype=float32)

    Source: Keras 3.15 ``keras.losses.Poisson``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "poisson"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``poisson``."""
        return poisson(y_true, y_pred)
