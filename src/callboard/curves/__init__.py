"""Curves of a training's metrics, as a figure."""

from callboard.curves.best import BestEpoch, best_epoch_of
from callboard.curves.figure import (
    FORMATS,
    check_format,
    draw_frame,
    figure_of,
    metrics_of,
    new_figure,
    write_figure,
)

__all__ = [
    "FORMATS",
    "BestEpoch",
    "best_epoch_of",
    "check_format",
    "draw_frame",
    "figure_of",
    "metrics_of",
    "new_figure",
    "write_figure",
]
