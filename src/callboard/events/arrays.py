"""Arrays of any framework as NumPy arrays that can be computed with."""

from __future__ import annotations

from typing import Any

import numpy as np

from callboard._core import frameworks

__all__ = ["decoded", "host_array"]

Array = np.ndarray[Any, Any]


def host_array(value: Any) -> Array:
    """Return an array of any framework, or anything that NumPy takes for one, on the host.

    Example:
        >>> host_array([1, 2]).tolist()
        [1, 2]
    """
    try:
        array = np.asarray(value)
    except (TypeError, RuntimeError):  # on an accelerator, with a gradient, of a type of its own
        source = frameworks.source_of(value)
        if source is None:
            raise
        array = np.empty(source.shape, source.dtype)
        source.copy_to(array)
    return array if array.dtype.names is None else decoded(array)


def decoded(array: Array) -> Array:
    """Return the values of an array whose dtype stands in for one that NumPy lacks.

    Args:
        array: Of a structured dtype with one field, named after what it stands for.

    Example:
        >>> decoded(np.array([0x3F80], "<u2").view([("bfloat16", "<u2")]))
        array([1.], dtype=float32)
    """
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
