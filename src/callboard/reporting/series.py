"""Curves with as many points as a screen can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["kept", "rounded"]

_BUCKETS = 700  # about the pixels that a panel is wide
_ALL_BELOW = 3000


def kept(columns: Mapping[str, Any]) -> Any:
    """Return the positions that a picture needs of curves that share their epochs.

    Of each stretch as wide as a pixel these are the first and last position, and of every curve
    the lowest, the highest and a gap, so that no spike and no hole is lost.

    Args:
        columns: Arrays of one length by name, float64; what is not finite is a gap.

    Returns:
        Positions, ascending, int64.

    Example:
        >>> spike = np.zeros(100_000)
        >>> spike[12_345] = 9.0
        >>> positions = kept({"loss": spike})
        >>> 12_345 in positions, len(positions) < 3000
        (True, True)
    """
    length = max((len(column) for column in columns.values()), default=0)
    if length <= _ALL_BELOW:
        return np.arange(length)
    edges = np.linspace(0, length, _BUCKETS + 1).astype(np.int64)
    starts = edges[:-1]
    found = [starts, edges[1:] - 1]
    for column in columns.values():
        finite = np.isfinite(column)
        for sign in (1.0, -1.0):
            values = np.where(finite, column * sign, np.inf)
            lowest = np.repeat(np.minimum.reduceat(values, starts), np.diff(edges))
            found.append(_first_in_each(values == lowest, starts, edges))
        found.append(_first_in_each(~finite, starts, edges))
    return np.unique(np.concatenate(found))


def rounded(values: Sequence[float]) -> list[float | None]:
    """Return numbers for JSON: seven digits, None for what is not finite."""
    return [float(f"{value:.7g}") if math.isfinite(value) else None for value in values]


def _first_in_each(wanted: Any, starts: Any, edges: Any) -> Any:
    """Return the first wanted position in each stretch that has one."""
    positions = np.where(wanted, np.arange(len(wanted)), len(wanted))
    first = np.minimum.reduceat(positions, starts)
    return first[first < edges[1:]]
