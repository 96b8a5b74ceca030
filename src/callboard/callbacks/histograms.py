"""What of a model goes into histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

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
            yield name, _decoded(array)
        elif array.dtype.kind == "f":
            yield name, array


def _decoded(array: Array) -> Array:
    """Return the values of an array whose dtype stands in for one that NumPy lacks."""
    (name,) = array.dtype.names or ("",)
    bits: Array = np.atleast_1d(array[name])
    if name == "bfloat16":  # the upper half of a float32
        return (bits.astype(np.uint32) << 16).view(np.float32)
    if name == "float8_e5m2":  # the upper half of a float16
        return (bits.astype(np.uint16) << 8).view(np.float16)
    values: Array = _float8_e4m3fn()[bits]
    return values


def _float8_e4m3fn() -> Array:
    """Return the values of the 256 numbers: a sign, 4 bits of exponent and 3 of mantissa."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    magnitude = np.where(exponent, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa / 512)
    magnitude[code & 127 == 127] = np.nan
    return np.where(code & 128, -magnitude, magnitude).astype(np.float32)
