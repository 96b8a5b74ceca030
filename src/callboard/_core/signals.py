"""Ending a run in order when the system asks the process to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

__all__ = ["TerminationRequest"]


class TerminationRequest:
    """While entered, SIGTERM is noted instead of ending the process at once.

    The handler only sets ``pending``; the run looks at it between two steps. A second SIGTERM acts
    as it would have without us. The previous handler is put back on exit, and gets a signal that
    came too late for ``answer``. A process that ignores SIGTERM goes on to do so. Signals can be
    handled in the main thread only; elsewhere this does nothing.
    """

    exit_status = 128 + signal.SIGTERM

    def __init__(self) -> None:
        self.pending = False
        self._previous: signal.Handlers | object = None
        self._installed = self._answered = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGTERM)
            # None: a handler that was not installed from Python and could not be put back.
            if previous not in (None, signal.SIG_IGN):
                self._previous = previous
                signal.signal(signal.SIGTERM, self._note)
                self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        installed = self._installed
        self._put_back()
        if installed and self.pending and not self._answered:
            signal.raise_signal(signal.SIGTERM)

    def answer(self) -> None:
        """Raise SystemExit if an end was asked for."""
        if self.pending:
            self._answered = True
            raise SystemExit(self.exit_status)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.pending:
            self._put_back()
            signal.raise_signal(number)
        self.pending = True

    def _put_back(self) -> None:
        if self._installed:
            self._installed = False
            signal.signal(signal.SIGTERM, self._previous)  # type: ignore[arg-type] # what getsignal gave
