"""Curves of several trainings in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from callboard.curves import draw_frame, metrics_of, new_figure
from callboard.recorded import Recording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["comparison_of"]

# As in a report: colors that people with any color vision can tell apart.
_COLORS = ["#0067A5", "#B34700", "#00704F", "#A03475", "#6B5200", "#5A46B8", "#A3232B", "#4B5560"]
_RATE = "learning_rate"
_DASHED = (0, (4, 2))
_ROW_CHARACTERS = 120  # of a legend as wide as the figure


def comparison_of(recordings: Sequence[Recording], title: str = "") -> Figure:
    """Draw a panel for each metric with a color for each run; training is dashed if validated.

    Args:
        recordings: The runs, at least one.
        title: Text above the panels.

    Returns:
        A figure of matplotlib, which belongs to no window.

    Raises:
        UnsupportedError: If matplotlib is not installed.

    Example:
        >>> runs = [Recording(name, [0, 1], {"loss": [0.5, 0.25]}) for name in ("a", "b")]
        >>> figure = comparison_of(runs)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['a', 'b']
    """
    names: Mapping[str, object] = dict.fromkeys(n for each in recordings for n in each.history)
    panels = metrics_of(names)
    figure, axes = new_figure(panels)
    for panel in panels:
        draw_frame(axes[panel], panel.replace("_", " "))
        for run, recording in enumerate(recordings):
            _draw_run(axes[panel], panel, recording, _COLORS[run % len(_COLORS)])
        if panel == _RATE:
            _scale_rate(axes[panel], recordings)
    _draw_legend(figure, recordings, dashed=any(map(_is_dashed, axes.values())))
    if title:
        figure.suptitle(title, fontsize=13, color="#222222")
    return figure


def _draw_legend(figure: Figure, recordings: Sequence[Recording], *, dashed: bool) -> None:
    """Say below all panels which color is whose."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - an extra

    handles = [
        Line2D([], [], color=_COLORS[run % len(_COLORS)], linewidth=2, label=each.name)
        for run, each in enumerate(recordings)
    ]
    if dashed:
        handles.append(
            Line2D([], [], color="#555555", linewidth=1.1, linestyle=_DASHED, label="training")
        )
    longest = max(len(str(handle.get_label())) for handle in handles)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=max(1, min(len(handles), _ROW_CHARACTERS // (longest + 8))),
        frameon=False,
        fontsize=10,
        labelcolor="#222222",
    )


def _is_dashed(axes: Axes) -> bool:
    return any(line.is_dashed() for line in axes.lines)


def _scale_rate(axes: Axes, recordings: Sequence[Recording]) -> None:
    """Make the axis logarithmic where the rates span a factor of ten."""
    rates = [rate for each in recordings for rate in each.history.get(_RATE, ()) if rate > 0]
    if rates and max(rates) >= 10 * min(rates):
        axes.set_yscale("log")


def _draw_run(axes: Axes, panel: str, recording: Recording, color: str) -> None:
    x = np.asarray(recording.epochs) + 1
    validation = f"val_{panel}"
    validated = validation in recording.history and panel != _RATE
    for name in dict.fromkeys((panel, validation if validated else panel)):
        if name not in recording.history:
            continue
        y = np.asarray(recording.history[name], dtype=np.float64)
        known = np.isfinite(y)
        main = name == validation or not validated
        axes.plot(
            x[known],
            y[known],
            color=color,
            linewidth=2 if main else 1.1,
            linestyle="-" if main else _DASHED,
            marker="o" if known.sum() == 1 else "",
            drawstyle="steps-mid" if name == _RATE else "default",
        )
