"""The moment between two steps of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from callboard._core.journal import Decision
from callboard._core.signals import TerminationRequest
from callboard._core.time_budget import TimeBudget

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["Boundary"]


class Boundary:
    """What is done between two steps, when every callback has had its hook.

    There the state of the whole run is consistent. Callbacks have things done there, such as saves;
    signals that ask for an end and the end of the time are answered there, after one more save.

    Args:
        run: The run.
        max_time: The time that it has, as :class:`TimeBudget` takes it.

    Attributes:
        count: Counts the boundaries at which something was done.
        save_s: Seconds that the longest save so far took, None before the first.
        hears_signals: Whether signals are answered there.
    """

    def __init__(self, run: Run, max_time: float | str | None) -> None:
        self._run = run
        self._actions: list[Callable[[], None]] = []
        self._budget = TimeBudget(max_time) or None
        self._termination = TerminationRequest()
        self.count = 0
        self.save_s: float | None = None
        self.hears_signals = True

    def begin(self) -> None:
        """Note signals from now on."""
        self._termination = TerminationRequest(saves=self._run.saves)
        if self.hears_signals:
            self._termination.__enter__()

    def end(self) -> None:
        """Leave signals to those who had them before."""
        self._termination.__exit__(None, None, None)

    def add(self, action: Callable[[], None]) -> None:
        """Have something done at the next boundary; may be called from other threads."""
        self._actions.append(action)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do at the next boundary."""
        return bool(self._actions or self._termination.pending or self._budget)

    @property
    def may_interrupt(self) -> bool:
        """Whether the run may have to end there."""
        return bool(self._termination.pending) or self._budget is not None

    def answer(self) -> None:
        """End the process, if a signal asked for that."""
        self._termination.answer()

    def reach(self) -> None:
        """Do what waits; end or pause the run if that was asked for."""
        run = self._run
        self.count += 1
        self._act()
        reason = self._termination.name
        if not reason and self._budget is not None and not run.is_done:
            reason = self._budget.over(self.save_s if run.saves else 0.0)
        if not reason:
            return
        run.callbacks.on_interrupt(reason)
        self._act()
        self.answer()
        run.paused = True
        run.stop(reason)
        progress = run.progress
        run.journal.record(Decision("Run", "paused", progress.epoch, progress.step, reason))

    def _act(self) -> None:
        while self._actions:
            self._actions.pop(0)()
