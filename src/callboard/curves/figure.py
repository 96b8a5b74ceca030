"""Curves of a training's metrics, as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from callboard._core import fs
from callboard._core.errors import DataError, UnknownNameError, UnsupportedError
from callboard.curves.best import BestEpoch, best_epoch_of, draw_best, finite, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FORMATS",
    "check_format",
    "draw_frame",
    "figure_of",
    "metrics_of",
    "new_figure",
    "write_figure",
]

FORMATS = (".png", ".svg", ".pdf")
"""Suffixes of the images that a figure can be written as."""

_RATE = "learning_rate"
_WIDTH_IN, _DPI = 10.0, 100
_ROW_IN, _RATE_ROW_IN = 3.3, 2.1
_MOST_MARKERS = 40

# Okabe and Ito's colors, which people with any color vision can tell apart. The marker tells the
# two lines apart in black and white too.
_TRAIN, _VALIDATION, _RATE_COLOR = "#0072B2", "#D55E00", "#007A5A"
_INK, _FAINT = "#222222", "#8A8A8A"


def figure_of(
    history: Mapping[str, Sequence[float]],
    epochs: Sequence[int] | None = None,
    title: str = "",
) -> Figure:
    """Draw a panel for each metric, training and validation in one, with the best epoch marked.

    The learning rate has a panel of its own, logarithmic where it spans a factor of ten. Values
    that are NaN or infinite are gaps, bridged by a dotted line.

    Args:
        history: Values by name, as in ``History.history``: one for each epoch.
        epochs: The epochs, from 0; by default as many as there are values. They are shown from 1.
        title: Text above the panels.

    Returns:
        A figure of matplotlib, 1,000 pixels wide, which belongs to no window: save it, or show it
        in a notebook.

    Raises:
        UnsupportedError: If matplotlib is not installed.
        DataError: If there is nothing to draw, or not one value for each epoch.

    Example:
        >>> figure = figure_of({"loss": [0.9, 0.5], "val_loss": [0.9, 0.6]}, title="A short run")
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['loss']
    """
    curves = {name: finite(values) for name, values in history.items()}
    x = _numbers_of_epochs(curves, epochs)
    best = best_epoch_of(curves)
    panels = metrics_of(curves)
    figure, axes = new_figure(panels)
    for name in panels:
        _draw_panel(axes[name], name, x, curves, best)
    _draw_title(figure, title, x, best)
    return figure


def new_figure(panels: Sequence[str]) -> tuple[Figure, dict[str, Axes]]:
    """Return a figure with axes for panels by their names, two in a row, and these axes.

    Raises:
        UnsupportedError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise UnsupportedError(
            "drawing curves needs the matplotlib package: pip install 'callboard[plot]'"
        ) from error
    rows = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    heights = [_RATE_ROW_IN if row == [_RATE] else _ROW_IN for row in rows]
    # Colors are set throughout, so that a dark style of the user's does not swallow some of them.
    size = (_WIDTH_IN, sum(heights) + 0.7)
    figure = Figure(
        size, _DPI, facecolor="white", layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.12)
    )
    # A row of one panel is that panel twice in the mosaic: it takes the whole width.
    axes: dict[str, Axes] = figure.subplot_mosaic(
        [[row[0], row[-1]] for row in rows], height_ratios=heights
    )
    return figure, axes


def check_format(path: Path) -> None:
    """Raise if the path's suffix is not one of ``FORMATS``.

    Raises:
        UnknownNameError: If so, with the nearest one.
    """
    if path.suffix.lower() not in FORMATS:
        raise UnknownNameError("image format", path.suffix or path.name, FORMATS)


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as an image, whole, in the format of the path's suffix.

    Raises:
        UnknownNameError: If the suffix is not one of ``FORMATS``.
        OSError: If the file cannot be written.
    """
    check_format(path)
    with fs.replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), facecolor="white")


def _numbers_of_epochs(curves: Mapping[str, Any], epochs: Sequence[int] | None) -> Any:
    """Return the epochs as they are shown, from 1."""
    lengths = {name: len(values) for name, values in curves.items()}
    if not any(lengths.values()):
        raise DataError("there are no metrics to draw; train for an epoch first")
    expected = max(lengths.values()) if epochs is None else len(epochs)
    for name, length in lengths.items():
        if length != expected:
            raise DataError(f"{name!r} has {length} values for {expected} epochs")
    return np.asarray(range(expected) if epochs is None else epochs) + 1


def metrics_of(curves: Mapping[str, object]) -> list[str]:
    """Return the metrics by the names of their panels: the loss first, the learning rate last."""
    metrics = {name.removeprefix("val_") for name in curves if name != _RATE}
    ordered = sorted(metrics, key=lambda name: (name != "loss", name))
    return [*ordered, _RATE] if _RATE in curves else ordered


def _draw_panel(
    axes: Axes, name: str, x: Any, curves: Mapping[str, Any], best: BestEpoch | None
) -> None:
    draw_frame(axes, name.replace("_", " "))
    if name == _RATE:
        _draw_rate(axes, x, curves[name])
    else:
        _draw_line(axes, x, curves.get(name), _TRAIN, "s", "training")
        _draw_line(axes, x, curves.get(f"val_{name}"), _VALIDATION, "o", "validation")
    if best is None:
        return
    axes.axvline(x[best.at], color=_FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    validated = f"val_{name}" in curves
    value = curves[f"val_{name}" if validated else name][best.at]
    if name != _RATE and not math.isnan(value):
        drawn = [curves[key] for key in (name, f"val_{name}") if key in curves]
        draw_best(axes, (x[best.at], value), _VALIDATION if validated else _TRAIN, x, drawn)


def draw_frame(axes: Axes, title: str) -> None:
    """Give a panel its title, its grid and an axis of epochs."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - an extra

    axes.set_facecolor("white")
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=_INK)
    axes.set_xlabel("epoch", color=_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(visible=True, axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)


def _draw_line(axes: Axes, x: Any, y: Any, color: str, marker: str, label: str) -> None:
    if y is None:
        return
    known = ~np.isnan(y)
    # Where only every other epoch was validated, all values would stand alone without a bridge.
    axes.plot(x[known], y[known], color=color, linewidth=1.2, linestyle=":", zorder=2)
    few = len(x) <= _MOST_MARKERS
    axes.plot(
        x,
        y,
        color=color,
        linewidth=2,
        marker=marker if few or known.sum() <= _MOST_MARKERS else "",
        markersize=4,
        label=label,
        zorder=3,
    )
    if not known.any():
        label = f"{label} (no finite value)"
        axes.lines[-1].set_label(label)
    axes.legend(frameon=False, fontsize=10, labelcolor=_INK)


def _draw_rate(axes: Axes, x: Any, y: Any) -> None:
    marker = "o" if len(x) == 1 else ""  # a step needs two points to be seen
    axes.step(x, y, where="mid", color=_RATE_COLOR, linewidth=2, marker=marker, zorder=3)
    positive = y[y > 0]
    if len(positive) and positive.max() >= 10 * positive.min():
        axes.set_yscale("log")
        return
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)


def _draw_title(figure: Figure, title: str, x: Any, best: BestEpoch | None) -> None:
    found = "" if best is None else f"best epoch {x[best.at]}: {best.name} {shown(best.value)}"
    text = "   |   ".join(part for part in (title, found) if part)
    if text:
        figure.suptitle(text, fontsize=13, color=_INK)
