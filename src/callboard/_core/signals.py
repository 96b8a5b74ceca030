"""Ending a run in order when the system or the user asks the process to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

__all__ = ["SimulatedKill", "TerminationRequest"]

_PREEMPTION = getattr(signal, "SIGUSR1", None)


class SimulatedKill(BaseException):
    """Ends a run as ``kill -9`` would: no callback hears of it. For tests of resuming."""


class TerminationRequest:
    """While entered, signals that ask for an end are noted instead of acting at once.

    The handler only sets ``pending``; the run looks at it between two steps. The same signal once
    more, or Ctrl-C after another, acts as it would have without us. The previous handlers are put
    back on exit, and get a signal that came too late for ``answer``. What the process ignores it
    goes on to ignore, and its own handler for SIGUSR1 stays. Signals can be handled in the main
    thread only; elsewhere this does nothing.

    Args:
        saves: Whether the run will save before it ends: then Ctrl-C and SIGUSR1, by which clusters
            announce an end, are noted too. Otherwise only SIGTERM is.

    Attributes:
        pending: Number of the signal that came, 0 if none did.
    """

    def __init__(self, *, saves: bool = False) -> None:
        self.pending = 0
        self._saves = saves
        self._previous: dict[int, Any] = {}
        self._answered = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in self._numbers():
                previous = signal.getsignal(number)
                # None: a handler that was not installed from Python and could not be put back.
                if previous not in (None, signal.SIG_IGN):
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        installed = self.pending in self._previous
        self._put_back(tuple(self._previous))
        if installed and not self._answered:
            signal.raise_signal(self.pending)

    @property
    def name(self) -> str:
        """Name of the signal that came, such as "SIGTERM"; empty if none did."""
        return signal.Signals(self.pending).name if self.pending else ""

    def answer(self) -> None:
        """Raise KeyboardInterrupt or SystemExit if an end was asked for, by status 128 + signal."""
        if self.pending:
            self._answered = True
            self._end()

    def _end(self) -> NoReturn:
        if self.pending == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.pending)

    def _numbers(self) -> Iterable[int]:
        yield signal.SIGTERM
        if self._saves:
            yield signal.SIGINT
            if _PREEMPTION is not None and signal.getsignal(_PREEMPTION) == signal.SIG_DFL:
                yield _PREEMPTION

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.pending and number in (self.pending, signal.SIGINT):
            self._put_back((number,))
            signal.raise_signal(number)
        self.pending = self.pending or number

    def _put_back(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number in self._previous:
                signal.signal(number, self._previous.pop(number))
