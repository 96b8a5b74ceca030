"""Names of element types in files, and how NumPy holds them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["code_of", "dtype_of", "stand_in"]


def stand_in(name: str, item: str) -> np.dtype[Any]:
    """Return the dtype that stands for one that NumPy lacks: its bits, under its name.

    Example:
        >>> stand_in("bfloat16", "<u2")
        dtype([('bfloat16', '<u2')])
    """
    return np.dtype([(name, item)])


_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("bool"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "BF16": stand_in("bfloat16", "<u2"),
    "F8_E4M3": stand_in("float8_e4m3fn", "u1"),
    "F8_E5M2": stand_in("float8_e5m2", "u1"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def code_of(dtype: np.dtype[Any]) -> str:
    """Return the name that safetensors files have for a dtype.

    Raises:
        TypeError: If they have none.
    """
    code = _CODES.get(dtype)
    if code is None:
        raise TypeError(f"arrays of {dtype} cannot be saved; allowed are {', '.join(_DTYPES)}")
    return code


def dtype_of(code: str) -> np.dtype[Any]:
    """Return the dtype for a name in a safetensors file; ``KeyError`` if it is not known."""
    return _DTYPES[code]
