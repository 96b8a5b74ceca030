"""The argument ``class_weight`` as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from callboard._core.errors import ConfigurationError

__all__ = ["class_weight_table"]


def class_weight_table(weights: Mapping[int, float]) -> np.ndarray[Any, Any]:
    """Return the weight of each class, float32; the last one is that of all classes above.

    Args:
        weights: Weight of each class by its number; classes that are not in it weigh 1.

    Raises:
        ConfigurationError: If a class or weight is not a number of 0 or more.

    Example:
        >>> class_weight_table({1: 3.0})
        array([1., 3., 1.], dtype=float32)
    """
    if not isinstance(weights, Mapping):
        raise ConfigurationError(
            f"class_weight must be a dict of weights by class number; got {weights!r}"
        )
    for number, weight in weights.items():
        if isinstance(number, bool) or not isinstance(number, Integral) or number < 0:
            raise ConfigurationError(
                f"class_weight must have class numbers, from 0, as keys; got {number!r}"
            )
        if not isinstance(weight, Real) or not 0 <= weight < math.inf:
            raise ConfigurationError(
                f"class_weight[{number}] must be a number, 0 or more; got {weight!r}"
            )
    table = np.ones(int(max(weights, default=-1)) + 2, np.float32)
    for number, weight in weights.items():
        table[int(number)] = float(weight)
    return table
