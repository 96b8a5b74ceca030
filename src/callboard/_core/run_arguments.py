"""Arguments of a run, checked where they are given."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from callboard._core.errors import ConfigurationError, DataError, UnknownNameError
from callboard._core.monitor import Mode

__all__ = ["directions", "length_of", "named", "sample_weight", "verbosity", "whole"]


def length_of(data: Any) -> int | None:
    """Return the batches of a pass over data, None where it does not say."""
    # A torch DataLoader has __len__ and raises TypeError where its dataset has none.
    with contextlib.suppress(TypeError, NotImplementedError):
        return len(data)
    return None


def whole(value: object, name: str) -> int:
    """Return a count, or raise ConfigurationError unless it is a whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ConfigurationError(f"{name} must be a whole number, 0 or more; got {value!r}")
    return int(value)


def directions(metrics: Mapping[str, Mode | None] | None) -> Mapping[str, Mode | None] | None:
    """Return which direction of each metric is better, or raise ConfigurationError."""
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ConfigurationError(
            f"metrics must be a dict of names and 'min', 'max' or None; got {metrics!r}"
        )
    for name, mode in (metrics or {}).items():
        if mode not in ("min", "max", None):
            raise UnknownNameError(f"direction of metrics[{name!r}]", mode, ["min", "max"])
    return metrics


def named(items: Mapping[str, Any] | None, argument: str) -> dict[str, Any]:
    """Return objects by their names, or raise ConfigurationError."""
    if items is not None and not isinstance(items, Mapping):
        raise ConfigurationError(
            f"{argument} must be a dict of objects by names of your choice; got {items!r}"
        )
    return dict(items or {})


def sample_weight(weight: Any) -> float:
    """Return how many samples a value is the mean of, or raise DataError."""
    try:
        number = float(weight)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise DataError(
            f"weight must be a number of samples, 0 or more, that the values are means over; got "
            f"{weight!r}"
        )
    return number


def verbosity(verbose: int | str) -> int:
    """Return 0, 1 or 2, or raise ConfigurationError."""
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ConfigurationError(f"verbose must be 0, 1, 2 or 'auto'; got {verbose!r}")
    return int(verbose)
