"""How long a run may take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from callboard._core.errors import ConfigurationError
from callboard._core.every import seconds_of

__all__ = ["TimeBudget"]

_SLURM = "SLURM_JOB_END_TIME"
_UNMEASURED_S = 60.0


class TimeBudget:
    """The end of the time that a run has, by its own limit or by that of a SLURM job.

    Args:
        max_time: Seconds from now on, or a text such as "11.5 h"; None for no limit.
        environment: Where SLURM says when its job ends, in seconds since 1970.
        clock: Returns seconds that never go back.
        now: Returns the seconds since 1970.

    Raises:
        ConfigurationError: If ``max_time`` is no length of time.
    """

    def __init__(
        self,
        max_time: float | str | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        began = clock()
        self._ends: list[tuple[float, str]] = []
        if max_time is not None:
            seconds = seconds_of(max_time, "max_time")
            self._ends.append((began + seconds, f"max_time={max_time!r} is over"))
        if environment.get(_SLURM):
            left = _seconds(environment[_SLURM]) - now()
            self._ends.append((began + left, "the SLURM job ends"))
        self._end, self._reason = min(self._ends, default=(float("inf"), ""))
        self._unmeasured = min(_UNMEASURED_S, max(self._end - began, 0.0) / 10)

    def __bool__(self) -> bool:
        return bool(self._ends)

    def over(self, save_s: float | None) -> str:
        """Return why it is time to end, or nothing.

        Args:
            save_s: Seconds that a save takes, for which time is left; 0 if nothing will be saved,
                None if that is not known yet.
        """
        reserve = self._unmeasured if save_s is None else 2 * save_s
        return self._reason if self._clock() + reserve >= self._end else ""


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(
            f"the environment variable {_SLURM} must be seconds since 1970; it is {text!r}"
        ) from None
