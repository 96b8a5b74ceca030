"""What all bridges have in common: a list of callbacks, and a run for each training of the host."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from callboard._core.dispatch import CallbackList
from callboard._core.errors import RunStateError
from callboard._core.history import History
from callboard._core.hosted import HostedRun
from callboard.callbacks import ProgbarLogger

__all__ = ["Bridge"]

_T = TypeVar("_T")


class Bridge:
    """Callbacks that a host library calls, as one callback of its own kind.

    The object may be used for one training after the other, and copied and pickled before each.
    In a ``with`` block around the training it hears of errors and Ctrl-C too where the host does
    not report them, and answers signals that ask for an end.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 shows progress besides the host's own, 2 prints a line an epoch.

    Attributes:
        run: The :class:`callboard.Run` of the latest training, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks.
    """

    _resumes_by = ""
    _wakes_for_bad_losses = False
    _says_when_it_ends = True

    def __init__(self, callbacks: Iterable[Any] = (), *, verbose: int = 0) -> None:
        given = CallbackList([callbacks])  # says what is no callback
        # Whatever can be iterated over once only is a list for each training.
        self.callbacks = callbacks if isinstance(callbacks, list | tuple) else list(given)
        self.verbose = verbose
        self._run: HostedRun | None = None
        self._is_running = False
        self._is_entered = False
        self._is_awake = False  # something was bad, and callbacks that wait for it are to hear it
        self._state: Mapping[str, Any] | None = None
        self._unused: Iterable[Any] = ()  # copies of the callbacks from before the training

    @property
    def run(self) -> HostedRun:
        """The run of the latest training.

        Raises:
            RunStateError: If there was none.
        """
        if self._run is None:
            raise RunStateError("no training has begun with these callbacks in this process")
        return self._run

    @property
    def history(self) -> History:
        """The metrics of the latest training, epoch by epoch."""
        return self.run.history

    def __enter__(self) -> Self:
        self._is_entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_entered = False
        if error is None:
            self._end()
        else:
            self._fail(error)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to one training: it holds the host's objects and open files.

        A copy that is made in the middle of a training goes on from there, with the next one.
        """
        copied = {**vars(self), "_run": None, "_is_running": False, "_is_entered": False}
        if self._is_running:  # callbacks have files open, and what else they need meanwhile
            copied |= {"callbacks": self._unused, "_state": self.state_dict()}
        return copied

    def state_dict(self) -> dict[str, Any]:
        """Return what the host's checkpoint lacks: states of callbacks, progress, journal."""
        if self._run is not None:
            return self._run.state_in_host()
        return dict(self._state or {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``: at once, or when the next training begins."""
        if self._is_running:
            self.run.load_state_in_host(state)
        else:
            self._state = copy.copy(state)
            self._run = None

    def _begin(self, *arguments: Any, **options: Any) -> HostedRun:
        """Begin a run for a training that begins; arguments are those of :class:`HostedRun`."""
        if self._is_running and self._says_when_it_ends:
            self._fail(RunStateError("another training began before this one had ended"))
        self._end()
        run = HostedRun(
            *arguments,
            callbacks=[self.callbacks, self._display()],
            verbose=self.verbose,
            signals=self._is_entered,
            resumes_by=self._resumes_by,
            wakes_for_bad_losses=self._wakes_for_bad_losses,
            **options,
        )
        run.begin()
        self._run, self._is_running = run, True
        self._is_awake = False
        trained: Any = run.trainable
        if self._wakes_for_bad_losses and trained.active_guard is not None:
            trained.active_guard.on_rejected = self._wake
        state, self._state = self._state, None
        if state:
            run.load_state_in_host(state)
        return run

    def _display(self) -> list[ProgbarLogger]:
        """Return what shows progress, if that is wanted and not among the callbacks."""
        given = CallbackList([self.callbacks])
        if not self.verbose or any(isinstance(each, ProgbarLogger) for each in given):
            return []
        return [ProgbarLogger()]

    @property
    def _follows_batches(self) -> bool:
        """Whether anybody needs to hear of each batch, or to be asked after each about an end.

        If not, the host need not report them one by one, and is spared what that costs it.
        """
        run = self.run
        return self._is_entered or run.boundary.may_interrupt or run.awaits_batches

    def _wake(self) -> None:
        """Have those hear of this batch who only wait for a bad one."""
        self._is_awake = True
        self.run.wake()

    def _guarded(self, report: Callable[..., _T], *arguments: Any) -> _T:
        """Report something; an error ends the run, as the host does not say that one occurred."""
        try:
            return report(*arguments)
        except BaseException as error:
            self._fail(error)
            raise

    def _end(self) -> None:
        """End the run, if there is one that has not ended."""
        if self._is_running:
            self._is_running = False
            if self.run.stopping and not self.run.progress.batch:
                self.run.drop_epoch()  # its beginning was when the end was asked for
            self.run.end()

    def _fail(self, error: BaseException) -> None:
        """End the run by an error, if there is one that has not ended."""
        if self._is_running:
            self._is_running = False
            self.run.fail(error)
