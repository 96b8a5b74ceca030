"""Counting the values of an array for a histogram."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import numpy.typing as npt

from callboard._core.errors import DataError

__all__ = ["finite_buckets"]

_BUCKETS = 30
_INDICES = np.arange(_BUCKETS, dtype=np.float64)
_BLOCK = 1 << 16  # values; a block's float64 copy and indices stay in the processor's cache


def finite_buckets(values: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], int]:
    """Count the finite ones of ``values`` in 30 buckets of equal width.

    Buckets include their left edge and the last one also its right. Where all values are equal,
    they stand in the last bucket; where there are none, edges and counts are 0.

    Args:
        values: Numbers of any shape and of a real type. Blocks of them are copied, never all.

    Returns:
        Rows of left edge, right edge and count (float64, shape (30, 3)), and the amount of
        values that were left out because they are NaN or infinite.

    Raises:
        DataError: If ``values`` are not real numbers.

    Example:
        >>> buckets, left_out = finite_buckets([0.0, 1.0, 3.0, float("nan")])
        >>> buckets[[0, 10, -1]].round(3).tolist(), left_out
        ([[0.0, 0.1, 1.0], [1.0, 1.1, 1.0], [2.9, 3.0, 1.0]], 1)

    Source: ``histogram_pb`` of TensorBoard's ``plugins/histogram/summary_v2.py``, which gives
    the same counts for finite values.
    """
    flat = _real(values)
    given = flat.size
    low, high = _range(flat)
    if not math.isfinite(low) or not math.isfinite(high):
        flat = flat[np.isfinite(flat)]
        low, high = _range(flat)
    # A range beyond float64 is halved first; a power of two changes no digit.
    scale = 1.0 if math.isfinite(high - low) else 0.5
    width = (high * scale - low * scale) / _BUCKETS
    buckets = np.zeros((_BUCKETS, 3))
    buckets[:, 0] = (_INDICES * width + low * scale) / scale
    buckets[:-1, 1] = buckets[1:, 0]
    buckets[-1, 1] = high
    if width > 0.0:
        buckets[:, 2] = _counts(flat, low * scale, width, scale)
    else:
        buckets[-1, 2] = flat.size
    return buckets, given - flat.size


def _counts(
    flat: npt.NDArray[np.generic], low: float, width: float, scale: float
) -> npt.NDArray[np.int64]:
    counts = np.zeros(_BUCKETS + 1, np.int64)
    for start in range(0, flat.size, _BLOCK):
        # In float32 the index of a value close to an edge would be off by one.
        block = flat[start : start + _BLOCK].astype(np.float64)
        if scale != 1.0:
            block *= scale
        block -= low
        block /= width
        counts += np.bincount(block.astype(np.intp), minlength=_BUCKETS + 1)
    counts[-2] += counts[-1]  # the highest value, and what rounding puts beside it
    return counts[:-1]


def _range(flat: npt.NDArray[np.generic]) -> tuple[float, float]:
    return (float(flat.min()), float(flat.max())) if flat.size else (0.0, 0.0)


def _real(values: npt.ArrayLike) -> npt.NDArray[np.generic]:
    """Return ``values`` as a flat array of a type that can be compared, without a copy of float32.

    Raises:
        DataError: If they are not real numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind == "V":  # bfloat16 and float8 of ml_dtypes look like records of bytes
        with contextlib.suppress(TypeError, ValueError):
            array = array.astype(np.float32)
    elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"a histogram needs real numbers, got an array of {array.dtype}; "
            "convert it to float32 first"
        )
    return array.ravel(order="K")
