"""Points of curves on their way to a tracking service."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Point", "PointQueue"]

_MOST_WAITING = 100_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 15.0, 600.0


class Point(NamedTuple):
    """Metrics of one moment.

    Attributes:
        step: Training steps done.
        epoch: The epoch, from 0.
        of_batch: Whether they are those of a batch; else of an epoch.
        values: The metrics.
    """

    step: int
    epoch: int
    of_batch: bool
    values: Mapping[str, float]


class PointQueue:
    """Sends each point once, in order, whatever fails or is killed between.

    What a service did not take is sent again later, after a pause that grows, so that a service
    that is away does not slow the training down at every point. The latest points that it did
    take are kept: a service that works in the background may not have written them when the process
    is killed. All of these are the state; when the run goes on they are sent again, but for what
    the service says it has.

    Args:
        kept: How many points to keep after they were taken.
        clock: Returns seconds that never go back.

    Example:
        >>> points, taken = PointQueue(), []
        >>> points.add(Point(1, 0, False, {"loss": 0.5}))
        >>> points.send(lambda point: taken.append(point.step))
        >>> taken, len(points)
        ([1], 0)
    """

    def __init__(self, kept: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting: deque[Point] = deque()
        self._taken: deque[Point] = deque(maxlen=kept)
        self._clock = clock
        self._last_step: Callable[[str], int] | None = None
        self._last_steps: dict[str, int] = {}
        self._pause_s = 0.0
        self._not_before = 0.0
        self.dropped = 0

    def __len__(self) -> int:
        """Return how many points wait."""
        return len(self._waiting)

    def add(self, point: Point) -> None:
        """Have a point sent; of very many that wait, the oldest is dropped."""
        self._waiting.append(point)
        if len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1

    def leave_out(self, last_step: Callable[[str], int]) -> None:
        """Send no value that the service has.

        Args:
            last_step: Returns the last step that the service has of a metric, -1 if none.
        """
        self._last_step = last_step

    def send(self, log: Callable[[Point], None], *, at_once: bool = False) -> None:
        """Send what waits, unless the pause after a failure lasts.

        Args:
            log: Takes one point.
            at_once: Do not wait for the end of the pause.

        Raises:
            Exception: What ``log`` raised. A point that it calls impossible by a TypeError or
                ValueError is dropped; any other waits, as do those behind it.
        """
        if not at_once and self._pause_s and self._clock() < self._not_before:
            return
        while self._waiting:
            point = self._waiting[0]
            try:
                rest = point._replace(values=self._missing(point))
                if rest.values:
                    log(rest)
            except (TypeError, ValueError):
                self._waiting.popleft()
                self.dropped += 1
                raise
            except Exception:
                self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                self._not_before = self._clock() + self._pause_s
                raise
            self._pause_s = 0.0
            self._taken.append(self._waiting.popleft())

    def _missing(self, point: Point) -> Mapping[str, float]:
        if self._last_step is None:
            return point.values
        for name in point.values:
            if name not in self._last_steps:
                self._last_steps[name] = self._last_step(name)
        return {n: v for n, v in point.values.items() if point.step > self._last_steps[n]}

    def state_dict(self) -> dict[str, Any]:
        """Return all points that the service may not have."""
        points = (*self._taken, *self._waiting)
        return {"points": [[p.step, p.epoch, p.of_batch, dict(p.values)] for p in points]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``; call ``leave_out`` before the next ``send``."""
        self._taken.clear()
        self._waiting = deque(Point(*point) for point in state["points"])
