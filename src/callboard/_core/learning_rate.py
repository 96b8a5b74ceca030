"""A learning rate as Keras's users read and set it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import numpy as np

from callboard._core.errors import ConfigurationError
from callboard._core.logs import plain

__all__ = ["LearningRate", "valid_rate"]


class LearningRate(float):
    """A learning rate: a float with the two methods that Keras's variable is used with.

    Example:
        >>> rates = [0.1]
        >>> rate = LearningRate(rates[-1], rates.append)
        >>> rate, rate.numpy().dtype
        (0.1, dtype('float32'))
        >>> rate.assign(0.01)
        >>> rates
        [0.1, 0.01]
    """

    _assign: Callable[[float], None]

    def __new__(cls, value: float, assign: Callable[[float], None]) -> Self:
        """Return the rate ``value``; ``assign`` sets another one."""
        rate = super().__new__(cls, value)
        rate._assign = assign
        return rate

    def numpy(self) -> np.float32:
        """Return the rate as a NumPy scalar of type float32, as Keras does."""
        return np.float32(self)

    def assign(self, value: float) -> None:
        """Set the optimizer's learning rate. This number stays what it is."""
        self._assign(value)

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        # What is stored or copied is the number: the optimizer must not come along.
        return float, (float(self),)


def valid_rate(value: object) -> float:
    """Return a learning rate as a float.

    Raises:
        ConfigurationError: If it is not a finite number, 0 or more.
    """
    number = plain(value)
    if (
        isinstance(value, bool | np.bool_)
        or not isinstance(number, float)
        or not math.isfinite(number)
        or number < 0
    ):
        raise ConfigurationError(
            f"the learning rate must be a finite number, 0 or more; got {value!r}"
        )
    return number
