"""The curves of a report, as data for its script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from callboard.curves import best_epoch_of
from callboard.recorded import Recording
from callboard.reporting.series import kept, rounded

__all__ = ["marks_of", "panels_of"]

_RATE = "learning_rate"
_SHOWN = ("stopped", "reduced", "restored", "resumed", "rejected", "saved", "saving", "changed")
_MOST_MARKS = 400
_WORTH_LOG = 1.5  # below, a logarithmic axis looks the same
_LOG_FROM = {True: 10, False: 100}  # by how much values have to differ: the rate, other metrics


def panels_of(recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """Return a panel for each metric: the loss first, the learning rate last."""
    names = {
        name.removeprefix("val_") if name != _RATE else name
        for recording in recordings
        for name in recording.history
    }
    ordered = sorted(names, key=lambda name: (name == _RATE, name != "loss", name))
    return [_panel(name, recordings) for name in ordered]


def marks_of(recording: Recording) -> list[dict[str, Any]]:
    """Return the decisions that are marked on the curves, epochs from 1."""
    there = set(recording.epochs)
    marks = [
        {
            "x": each.epoch + 1,
            "kind": "saved" if each.action == "saving" else each.action,
            "text": f"{each.callback} {each.action}: {each.cause}",
        }
        for each in recording.decisions
        if each.action in _SHOWN and each.epoch in there
    ]
    rare = [mark for mark in marks if mark["kind"] != "saved"]
    return marks if len(marks) <= _MOST_MARKS else rare[-_MOST_MARKS:]


def _panel(name: str, recordings: Sequence[Recording]) -> dict[str, Any]:
    epochs = np.unique(np.concatenate([np.asarray(each.epochs) for each in recordings]))
    columns: dict[str, Any] = {}
    series: list[dict[str, Any]] = []
    for run, recording in enumerate(recordings):
        for key in dict.fromkeys((name, f"val_{name}")):
            if key not in recording.history or (key != name and name == _RATE):
                continue
            column = np.full(len(epochs), math.nan)
            column[np.searchsorted(epochs, recording.epochs)] = recording.history[key]
            columns[f"{run} {key}"] = column
            series.append(_style(run, key, recording, several=len(recordings) > 1))
    positions = kept(columns)
    for each, column in zip(series, columns.values(), strict=True):
        each["y"] = rounded(column[positions])
    panel: dict[str, Any] = {
        "name": name.replace("_", " "),
        "x": (epochs[positions] + 1).tolist(),
        "series": series,
    }
    values = np.concatenate(list(columns.values()))
    values = values[np.isfinite(values)]
    positive = bool(len(values)) and bool((values > 0).all())
    panel["can_be_log"] = positive and bool(values.max() >= _WORTH_LOG * values.min())
    panel["log"] = positive and bool(values.max() >= _LOG_FROM[name == _RATE] * values.min())
    if len(recordings) == 1:
        panel["best"] = _best(name, recordings[0], series)
    return panel


def _style(run: int, key: str, recording: Recording, *, several: bool) -> dict[str, Any]:
    validates = key.startswith("val_")
    if several:
        what = f"{recording.name}, validation" if validates else recording.name
        thin = not validates and f"val_{key}" in recording.history
        dash = (run // 8) % 4 if not thin else 1
        look = {"color": run, "dash": dash, "thin": thin, "step": key == _RATE}
        return {"label": what, "end": "" if thin else recording.name, **look}
    if key == _RATE:  # the panel's title says it
        look = {"color": 2, "dash": 0, "thin": False, "step": True}
        return {"label": "learning rate", "end": "", **look}
    what = "validation" if validates else "training"
    look = {"color": int(validates), "dash": 0, "thin": False, "step": False}
    return {"label": what, "end": what, **look}


def _best(
    name: str, recording: Recording, series: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the point of the best epoch of the whole run in this panel."""
    best = best_epoch_of(recording.history)
    if best is None or name == _RATE or not series:
        return None
    key = f"val_{name}" if f"val_{name}" in recording.history else name
    value = recording.history[key][best.at]
    if not math.isfinite(value):
        return None
    return {"x": recording.epochs[best.at] + 1, "y": value, "series": len(series) - 1}
