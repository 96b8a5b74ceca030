"""Arguments of a run, checked where they are given."""

from __future__ import annotations

import contextlib
from numbers import Integral
from typing import Any

from callboard._core.errors import ConfigurationError

__all__ = ["length_of", "verbosity", "whole"]


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


def verbosity(verbose: int | str) -> int:
    """Return 0, 1 or 2, or raise ConfigurationError."""
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ConfigurationError(f"verbose must be 0, 1, 2 or 'auto'; got {verbose!r}")
    return int(verbose)
