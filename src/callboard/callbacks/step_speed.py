"""Training steps per second."""

from __future__ import annotations

import time

__all__ = ["StepSpeed"]


class StepSpeed:
    """Measures training steps per second.

    Example:
        >>> speed = StepSpeed()
        >>> speed.begin(100)
        >>> speed.until(102) > 0
        True
    """

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, step: int) -> None:
        """Begin to measure at a step."""
        self._step = step
        self._time_s = time.perf_counter()

    def until(self, step: int) -> float:
        """Return the steps per second since the beginning."""
        return (step - self._step) / max(time.perf_counter() - self._time_s, 1e-9)
