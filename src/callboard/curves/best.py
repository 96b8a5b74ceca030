"""The best epoch of a training: which it is, and how it is marked on its curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from callboard._core.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BestEpoch", "best_epoch_of", "draw_best", "finite", "shown"]

_CHARACTER_PT = 6.5  # about the width of a digit in bold


class BestEpoch(NamedTuple):
    """The best epoch of a training.

    Attributes:
        at: Its position in the lists of values.
        name: The metric it is the best by: ``val_loss``, or ``loss`` without a validation.
        value: That metric in the epoch.
    """

    at: int
    name: str
    value: float


def best_epoch_of(history: Mapping[str, Sequence[float]]) -> BestEpoch | None:
    """Return the epoch with the lowest ``val_loss``, without one ``loss``; None without either.

    Example:
        >>> best_epoch_of({"loss": [0.9, 0.5, 0.3], "val_loss": [0.9, 0.6, 0.7]})
        BestEpoch(at=1, name='val_loss', value=0.6)
    """
    for name in ("val_loss", "loss"):
        values = finite(history.get(name, ()))
        if not np.isnan(values).all():
            at = int(np.nanargmin(values))
            return BestEpoch(at, name, float(values[at]))
    return None


def finite(values: Sequence[float]) -> Any:
    """Return values as an array in which all that cannot be drawn is NaN.

    Raises:
        DataError: If they are not numbers, one for each epoch.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty((0, 0))
    if array.ndim != 1:
        raise DataError(
            "curves are drawn of numbers, one for each epoch; leave out what has other values"
        )
    return np.where(np.isfinite(array), array, math.nan)


def draw_best(
    axes: Axes, at: tuple[float, float], color: str, x: Any, curves: Sequence[Any]
) -> None:
    """Mark a point with its value, where curves cross it least."""
    axes.plot(*at, "o", ms=9, mfc="white", mec=color, mew=2, zorder=4)
    text = shown(at[1])
    right, above = _free_place(axes, at, len(text) * _CHARACTER_PT, x, curves)
    axes.annotate(
        text,
        at,
        xytext=(9 if right else -9, 9 if above else -9),
        textcoords="offset points",
        ha="left" if right else "right",
        va="bottom" if above else "top",
        fontsize=10,
        fontweight="bold",
        color=color,
        bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        zorder=5,
    )


def _free_place(
    axes: Axes, at: tuple[float, float], wide_pt: float, x: Any, curves: Sequence[Any]
) -> tuple[bool, bool]:
    """Return whether a text beside a point stands right of it, and above it.

    Args:
        axes: The panel, whose limits are known by now; its size is about that of one of two.
        at: The point.
        wide_pt: How wide the text is, in points.
        x: The epochs.
        curves: Values that it should keep clear of.
    """
    limits = (*axes.get_xlim(), *axes.get_ylim())
    across, up = (scale / (limits[i + 1] - limits[i]) for i, scale in ((0, 290.0), (2, 180.0)))
    fine = np.linspace(x[0], x[-1], 400)
    crossed = {}
    for right, above in ((True, True), (True, False), (False, True), (False, False)):
        begin = at[0] + (6 if right else -6 - wide_pt) / across
        low = at[1] + (6 if above else -22) / up
        end, high = begin + wide_pt / across, low + 16 / up
        outside = begin < limits[0] or end > limits[1] or low < limits[2] or high > limits[3]
        crossed[right, above] = 1000 * outside
        for curve in curves:
            y = np.interp(fine, x, curve)
            crossed[right, above] += int(
                ((fine > begin) & (fine < end) & (y > low) & (y < high)).sum()
            )
    return min(crossed, key=crossed.__getitem__)


def shown(value: float) -> str:
    """Return a value to four digits or so."""
    return f"{value:.4f}" if 0.01 <= abs(value) < 1000 else f"{value:.4g}"
