"""What CatBoost knows of metrics."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import Any

import catboost
import catboost.metrics

from callboard._core.monitor import Mode

__all__ = ["direction_of", "directions"]

# Metrics that CatBoost only makes with arguments.
_WITH_ARGUMENTS: dict[str, Mode] = {
    "AverageGain": "max",
    "F": "max",
    "Focal": "min",
    "Huber": "min",
    "Lq": "min",
    "NumErrors": "min",
    "PairLogitPairwise": "min",
    "QueryAverage": "max",
    "Tweedie": "min",
}


@cache
def directions() -> dict[str, Mode]:
    """Return what CatBoost knows of its metrics: whether lower or higher values are better."""
    known = dict(_WITH_ARGUMENTS)
    for name in catboost.metrics.__all__:
        metric = getattr(catboost.metrics, name)
        with contextlib.suppress(ValueError, catboost.CatBoostError):  # of the mandatory arguments
            known[name] = direction_of(metric())
    return known


def direction_of(metric: Any) -> Mode:
    """Return what a metric says of itself."""
    return "max" if metric.is_max_optimal() else "min"
