"""A run whose loop belongs to another library."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from callboard._core.callback import Callback
from callboard._core.checks import ConfigurationWarning
from callboard._core.dispatch import CallbackList
from callboard._core.errors import UnsupportedError
from callboard._core.logs import Logs
from callboard._core.run import Run

__all__ = ["HostedRun"]

Metrics = Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None
_Hook = Callable[..., None] | None


class HostedRun(Run):
    """A run that hears what happens instead of being iterated over: what bridges are made of.

    The host's own hooks report to it, in this order: :meth:`begin`; for each epoch
    :meth:`begin_epoch`, for each batch :meth:`begin_batch` and :meth:`end_batch`, for a validation
    :meth:`begin_validation` and :meth:`end_validation`, then :meth:`end_epoch`; at last
    :meth:`end`, or :meth:`fail`. What is not reported (batches in boosting) does not take place.
    The host has to look at ``stopping``, which the methods that may lead to a stop return too.
    When the time is over in the middle of an epoch (``paused``), what the host still reports of the
    epoch is not passed on: it will take place when the run goes on.

    :meth:`begin` loads the state of a run that was interrupted, and the host goes on with
    ``next_epoch``.

    Args:
        *arguments: As of :class:`Run`.
        signals: Whether signals that ask for an end are answered between two steps. Only for a
            host that reports every end, as the signals' handlers stay until then.
        rate_controller: What changes the learning rate besides the callbacks, where the host knows
            that better than the optimizer shows.
        batches: Whether the host reports batches. Where it does not, a callback that acts by
            batches is an error, and one that acts by epochs too gets a warning.
        resumes_by: How the host goes on with a run that was interrupted, if not by what callbacks
            saved; a callback that saves whole runs is an error then, which says this instead.
        metrics_by: What to pass to the host to have metrics, for the error where they are missing.
        wakes_for_bad_losses: Whether the host's side looks at every loss and update itself and
            calls :meth:`wake` for a bad one. Then a callback that only waits for that is left alone
            in all other batches.
        **options: As of :class:`Run`.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> run = HostedRun(epochs=9, callbacks=[EarlyStopping("loss", patience=1)], verbose=0)
        >>> run.begin()
        >>> for epoch, loss in enumerate([0.5, 0.4, 0.6, 0.3]):
        ...     run.begin_epoch(epoch)
        ...     if run.end_epoch({"loss": loss}):
        ...         break
        >>> run.end()
        >>> epoch, run.stop_reason
        (2, 'loss did not improve on 0.4 for 1 epochs')
    """

    progress_display = None  # the host has its own
    ends_surely = False  # a host need not tell of an error

    def __init__(
        self,
        *arguments: Any,
        signals: bool = True,
        rate_controller: str | None = None,
        batches: bool = True,
        resumes_by: str = "",
        metrics_by: str = "",
        wakes_for_bad_losses: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.boundary.hears_signals = signals
        self._rate_controller = rate_controller
        self._reports_batches = batches
        self._resumes_by = resumes_by
        self.metrics_by = metrics_by
        self.wakes_for_bad_losses = wakes_for_bad_losses
        self._batch_hooks: tuple[_Hook, _Hook] = (None, None)
        self._sleeper: Any = None
        self._before = (self.progress.epoch, self.next_epoch, self.logs)

    @property
    def rate_controller(self) -> str:
        """What changes the learning rate besides the callbacks, or an empty string."""
        if self._rate_controller is None:
            return super().rate_controller
        return self._rate_controller

    def begin(self) -> None:
        """Begin: check the configuration, call ``on_train_begin``, go on with a saved run.

        Raises:
            ConfigurationError: For what surely cannot work.
            UnsupportedError: For a callback that saves runs the host cannot go on with.
        """
        if self._resumes_by:
            _check_no_saved_runs(self.callbacks, self._resumes_by)
        if not self._reports_batches:
            _check_batch_hooks(self.callbacks)
        if self.rate_is_controlled:
            _ = self.learning_rate  # what has none that can be set says so
        self.__enter__()
        self.resolve()

    def state_in_host(self) -> dict[str, Any]:
        """Return what the host's own checkpoint lacks: states of callbacks, progress, journal."""
        return self._cut.state_beside_a_host()

    def load_state_in_host(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_in_host()``, after :meth:`begin`."""
        self._cut.load_state_beside_a_host(state)

    def resolve(self) -> None:
        """Look anew which batch hooks there are, after callbacks have changed theirs."""
        if not self._reports_batches:
            return
        hook = self.callbacks.hook
        self._batch_hooks = hook("on_train_batch_begin"), hook("on_train_batch_end")
        self._sleeper = self.callbacks.sleeper("on_train_batch_end")

    @property
    def awaits_batches(self) -> bool:
        """Whether a callback has to hear of every batch, or may have to of some by the time."""
        begins, ends = self._batch_hooks
        return begins is not None or (ends is not None and not self.sleeps)

    @property
    def sleeps(self) -> bool:
        """Whether the only callback that hears of batches waits to be woken for a bad one."""
        return self._sleeper is not None and self._sleeper.wakes_at_s == math.inf

    def wake(self) -> None:
        """Have the callbacks hear of the batch that is reported next, whoever sleeps."""
        if self._sleeper is not None:
            self._sleeper.wakes_at_s = -math.inf

    def begin_epoch(self, epoch: int) -> None:
        """Report that an epoch begins, counted from 0; the one that is gone on with has begun."""
        resumes, self._cut.resumes_epoch = self._cut.resumes_epoch, False
        if resumes and epoch == self.progress.epoch:
            return
        self._before = (self.progress.epoch, self.next_epoch, self.logs)
        self.next_epoch = epoch + 1
        self._begin_epoch(epoch)

    def drop_epoch(self) -> None:
        """Report that the epoch which has begun does not take place: the host has ended before."""
        if self.in_epoch:
            self.in_epoch = False
            self.progress.epoch, self.next_epoch, self.logs = self._before

    def begin_batch(self) -> None:
        """Report that a training batch begins."""
        hook = self._batch_hooks[0]
        if hook is not None and not self.paused:
            hook(self.progress.batch, Logs())

    def end_batch(self, logs: Metrics = None, *, steps: int = 1, samples: int = 0) -> bool:
        """Report that training batches are done; return whether the run is to end.

        Args:
            logs: Running means of the epoch, or what returns them if a callback wants them.
            steps: How many batches.
            samples: Of how many samples together, where that is known.
        """
        if self.paused:
            return True
        progress = self.progress
        progress.batch += steps
        progress.step += steps
        progress.samples += samples
        hook, sleeper = self._batch_hooks[1], self._sleeper
        if hook is not None and (sleeper is None or perf_counter() >= sleeper.wakes_at_s):
            hook(progress.batch - 1, Logs((logs() if callable(logs) else logs) or {}))
        if self.boundary.is_needed:
            self.boundary.reach()
        return self.stopping

    def count(self, steps: int, *, samples: int = 0) -> bool:
        """Report that batches are done whose hooks were called elsewhere, as `end_batch` else."""
        if self.paused:
            return True
        progress = self.progress
        progress.batch += steps
        progress.step += steps
        progress.samples += samples
        if self.boundary.is_needed:
            self.boundary.reach()
        return self.stopping

    def call_batch_end(self, batch: int, logs: Logs) -> None:
        """Call the hook at the end of a batch that is counted elsewhere; from any thread."""
        hook = self._batch_hooks[1]
        if hook is not None:
            hook(batch, logs)

    def begin_validation(self) -> None:
        """Report that a validation begins, or an evaluation."""
        if self.paused:
            return
        self.callbacks.on_test_begin(Logs())

    def begin_validation_batch(self, batch: int) -> None:
        """Report that a batch of a validation begins."""
        if not self.paused:
            self.callbacks.on_test_batch_begin(batch, Logs())

    def end_validation_batch(self, batch: int, logs: Metrics = None) -> None:
        """Report that a batch of a validation is done."""
        if not self.paused and not self.callbacks.idle("on_test_batch_end"):
            logs = (logs() if callable(logs) else logs) or {}
            self.callbacks.on_test_batch_end(batch, Logs(logs))

    def end_validation(self, logs: Mapping[str, Any]) -> None:
        """Report that a validation is over.

        Args:
            logs: Its metrics, without ``val_``; :meth:`end_epoch` gets them with it.
        """
        if self.paused:
            return
        self.validated = True
        self.callbacks.on_test_end(Logs(logs))

    def end_epoch(
        self, logs: Mapping[str, Any], other_names: Mapping[str, str] | None = None
    ) -> bool:
        """Report that an epoch is over; return whether the run is to end.

        Args:
            logs: All metrics of the epoch, those of its validation with ``val_``.
            other_names: Names of the host by which callbacks may read them too, each with ours.
        """
        if not self.paused:
            self.logs = Logs(self.trainable.reduced(Logs(logs)), other_names)
        self._leave_epoch()
        return self.stopping

    def end(self) -> None:
        """Report that training ended, by itself or by request."""
        self.__exit__(None, None, None)

    def fail(self, error: BaseException) -> None:
        """Report the error, or Ctrl-C, that ended training; the host goes on raising it."""
        self.__exit__(type(error), error, error.__traceback__)


def _check_no_saved_runs(callbacks: CallbackList, resumes_by: str) -> None:
    for callback in callbacks:
        own = getattr(type(callback), "saved_run", Callback.saved_run)
        if own is not Callback.saved_run:
            raise UnsupportedError(
                f"{type(callback).__name__} saves runs to go on with, and this loop is not "
                f"Callboard's to go on with; {resumes_by}"
            )


def _check_batch_hooks(callbacks: CallbackList) -> None:
    for callback in callbacks:
        name = type(callback).__name__
        for hook in ("on_train_batch_begin", "on_train_batch_end"):
            if hook in vars(callback):  # set by a constructor, because of its arguments
                raise UnsupportedError(
                    f"this {name} acts by batches, and this loop has none; let it act by epochs"
                )
            is_ours = type(callback).__module__.startswith("callboard.")  # and works by epochs too
            alone = CallbackList([callback])
            if is_ours or alone.idle(hook):
                continue
            if alone.idle("on_epoch_begin") and alone.idle("on_epoch_end"):
                raise UnsupportedError(
                    f"{name} acts by batches ({hook}), and this loop has none; let it act by epochs"
                )
            warnings.warn(
                f"{name}.{hook} is never called: this loop has no batches",
                ConfigurationWarning,
                stacklevel=5,
            )
