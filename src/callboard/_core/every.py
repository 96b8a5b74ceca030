"""When something is due: every so many epochs, steps or seconds."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

from callboard._core.errors import ConfigurationError

__all__ = ["Every", "seconds_of"]

_UNITS = (
    (r"epochs?", "epoch", 1.0),
    (r"steps?|batch(?:es)?", "step", 1.0),
    (r"s|sec|seconds?", "second", 1.0),
    (r"min|minutes?", "second", 60.0),
    (r"h|hours?", "second", 3600.0),
)


class Every:
    """Due once in every so many epochs, steps or seconds.

    Works on counts that jump: every 4 steps, seen at steps 3 and 9, is due at 9, once.

    Args:
        period: An amount and a unit: "2 epochs", "500 steps", "30 s", "10 min", "1.5 h"; "epoch"
            alone is "1 epoch".
        clock: Returns seconds that never go back; for periods of time.

    Raises:
        ConfigurationError: If ``period`` cannot be read, is not positive, or is a fraction of a
            step or an epoch.

    Example:
        >>> every = Every("4 steps")
        >>> [step for step in range(1, 13) if every.due(step=step)]
        [4, 8, 12]
    """

    __slots__ = ("_clock", "_passed", "_since", "amount", "unit")

    def __init__(self, period: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.unit, self.amount = _parsed(period)
        self._clock = clock
        self._passed = 0
        self._since: float | None = clock() if self.unit == "second" else None

    def due(self, *, epoch: int | None = None, step: int | None = None) -> bool:
        """Say whether a period ended since the last call that said so.

        Args:
            epoch: Epochs finished so far, for a period in epochs.
            step: Steps done so far, for a period in steps.
        """
        if self._since is not None:
            now = self._clock()
            if now - self._since < self.amount:
                return False
            self._since = now
            return True
        count = epoch if self.unit == "epoch" else step
        if count is None:
            return False
        passed = int(count // self.amount)
        due = passed > self._passed
        self._passed = passed
        return due

    def state_dict(self) -> dict[str, Any]:
        """Return how many periods have passed; times start anew in another process."""
        return {"passed": self._passed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._passed = state["passed"]

    def __repr__(self) -> str:
        plural = "" if self.amount == 1 else "s"
        return f"Every('{self.amount:g} {self.unit}{plural}')"


def seconds_of(time: float | str, name: str) -> float:
    """Return a length of time in seconds.

    Args:
        time: Seconds, or an amount and a unit: "30 min", "11.5 h".
        name: What the time is for, for the error.

    Raises:
        ConfigurationError: If it cannot be read or is not positive.

    Example:
        >>> seconds_of("1.5 h", "max_time"), seconds_of(60, "max_time")
        (5400.0, 60.0)
    """
    if isinstance(time, str):
        unit, amount = _parsed(time)
    else:
        is_number = isinstance(time, Real) and not isinstance(time, bool)
        unit, amount = "second", float(time) if is_number else math.nan
    if unit != "second" or not 0 < amount < math.inf:
        raise ConfigurationError(
            f"{name} must be a time, in seconds or as '30 min' or '11.5 h'; got {time!r}"
        )
    return amount


def _parsed(period: str) -> tuple[str, float]:
    for words, unit, scale in _UNITS:
        match = re.fullmatch(rf"(\d+(?:\.\d+)?)?\s*(?:{words})", str(period).strip().lower())
        if match:
            amount = float(match[1] or 1) * scale
            if amount <= 0 or (unit != "second" and amount != int(amount)):
                raise ConfigurationError(
                    f"a period must be positive, and whole for epochs and steps; got {period!r}"
                )
            return unit, amount
    raise ConfigurationError(
        f"cannot read the period {period!r}; "
        "write an amount and a unit: '2 epochs', '500 steps', '30 s', '10 min', '1.5 h'"
    )
