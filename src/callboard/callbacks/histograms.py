"""What of a model goes into histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from callboard.events.arrays import decoded

__all__ = ["floats"]

Array = np.ndarray[Any, Any]


def floats(arrays: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield the names and values of floating-point arrays, in a dtype that NumPy computes with.

    Counters, masks and other arrays of integers have no distribution worth a look.

    Example:
        >>> ones = np.array([0x3F80], "<u2").view([("bfloat16", "<u2")])
        >>> list(floats({"steps": np.array([3]), "weight": ones}))
        [('weight', array([1.], dtype=float32))]
    """
    for name, array in arrays.items():
        if array.dtype.names is not None:
            yield name, decoded(array)
        elif array.dtype.kind == "f":
            yield name, array
