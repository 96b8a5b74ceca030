"""What is known of one recorded training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from callboard._core.journal import Decision

__all__ = ["Recording", "merged"]


@dataclass(frozen=True)
class Recording:
    """One recorded training.

    Attributes:
        name: What it is called, from the name of its file or folder.
        epochs: The epochs, from 0, ascending.
        history: For each metric its values, one for each epoch; NaN where there is none.
        skipped: Names of what was recorded and is not numbers.
        decisions: What callbacks decided, oldest first.
        progress: Counters: "step", "samples", "elapsed_s", "steps_per_second", and "stop_reason".
        configuration: How the run was set up, by name.
        environment: Versions and devices by name.
        sources: The files and folders that were read.

    Example:
        >>> Recording("a", [0, 1], {"loss": [0.5, 0.25]}).history["loss"]
        [0.5, 0.25]
    """

    name: str
    epochs: list[int]
    history: dict[str, list[float]]
    skipped: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    progress: dict[str, Any] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    @classmethod
    def of_rows(cls, name: str, rows: Mapping[int, Mapping[str, float]], **more: Any) -> Recording:
        """Return the recording with these metrics by epoch."""
        epochs = sorted(rows)
        names = dict.fromkeys(metric for epoch in epochs for metric in rows[epoch])
        history = {
            metric: [float(rows[epoch].get(metric, math.nan)) for epoch in epochs]
            for metric in names
        }
        return cls(name, epochs, history, **more)


def merged(name: str, recordings: Sequence[Recording]) -> Recording:
    """Return what several records of one training know together.

    Where two have a value for the same epoch, that of the earlier one in the list counts.
    """
    if len(recordings) == 1:
        only = recordings[0]
        return Recording(**{**vars(only), "name": name})
    rows: dict[int, dict[str, float]] = {}
    for each in reversed(recordings):
        for metric, values in each.history.items():
            for epoch, value in zip(each.epochs, values, strict=True):
                row = rows.setdefault(epoch, {})
                if metric not in row or not math.isnan(value):
                    row[metric] = value
    return Recording.of_rows(
        name,
        rows,
        skipped=_union(each.skipped for each in recordings),
        decisions=max((each.decisions for each in recordings), key=len),
        progress={n: v for each in reversed(recordings) for n, v in each.progress.items()},
        configuration=_first(each.configuration for each in recordings),
        environment=_first(each.environment for each in recordings),
        sources=_union(each.sources for each in recordings),
    )


def _union(lists: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(item for each in lists for item in each))


def _first(facts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return next((each for each in facts if each), {})
