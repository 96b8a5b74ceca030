"""One training run: the loop's side of all callbacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from callboard._core.boundary import Boundary
from callboard._core.callback import Callback
from callboard._core.checks import check_configuration, check_free
from callboard._core.closing import close
from callboard._core.cut import Cut
from callboard._core.dispatch import CallbackList
from callboard._core.errors import ConfigurationError, DataError, RunStateError
from callboard._core.history import History
from callboard._core.logs import Logs, Means
from callboard._core.monitor import Mode
from callboard._core.passes import Pass, Passes, Purpose
from callboard._core.run_arguments import length_of, named, sample_weight
from callboard._core.run_status import RunStatus
from callboard._core.samples import sample_count
from callboard._core.stateful import check_stateful
from callboard._core.trainable import Trainable, trainable_of, trainable_of_state

__all__ = ["Run"]


class Run(RunStatus):
    """One training run around a loop that you write yourself.

    ``with`` checks the configuration and begins; ``epochs()``, ``train()`` and ``validate()`` wrap
    what your loop iterates over and call the hooks in Keras's order; ``log()`` takes the metrics.
    However the block is left, every callback is closed; after an error or Ctrl-C each hears of
    it by ``on_exception`` first, and the error goes on to the caller.

    Args:
        model: What is trained: a torch module; None for a loop over anything that logs
            numbers. Then callbacks that need weights say so.
        optimizer: The model's optimizer, for the learning rate.
        state: All that a loop on JAX trains, instead of a model: any pytree of parameters, optax
            state, random keys, or a tuple of a module and an optimizer of nnx. The loop assigns
            what a step returns: ``run.state = step(run.state, batch)``.
        epochs: Epochs in all, counted from 0.
        callbacks: Callbacks, in any order; a list in the list is flattened.
        initial_epoch: Epoch to begin with.
        steps_per_epoch: Batches in an epoch, if the data does not say by ``len()``.
        verbose: 0 silent, 1 live progress, 2 one line per epoch, "auto" as 1.
        stateful: Whatever else belongs to the run's state, by names of your choice: learning rate
            schedulers, gradient scalers, averaged weights, random generators. Saved and restored
            with it.
        directory: Folder in which the run is kept, so that the same program, started again, goes on
            where it was: a :class:`callbacks.BackupAndRestore` in its subfolder "backup".
        max_time: Seconds, or a text such as "11.5 h", after which the run saves and ends; the end
            of a SLURM job (``SLURM_JOB_END_TIME``) acts alike. Time for one save is left.
        metrics: Names that will be logged and whether "min" or "max" is better (None if not
            known). Makes a misspelt monitor an error before the first epoch.
        validation: Whether the loop validates; None if that is to be seen.

    Attributes:
        callbacks: All callbacks, in the order in which they are called.
        history: The :class:`History` of the run.
        journal: The decisions that callbacks took, with their causes.
        progress: Epoch, batch, step and samples done.
        logs: Metrics of the current epoch as far as known, of the last one after its end.
        stop_reason: Why an early end was asked for, or an empty string.
        boundary: What is to be done between two steps.
        paused: Whether that was the end of the time: the run is not over, and can be gone on with.
        trainable: What callbacks may do to the model.
        validated: Whether the current epoch has had a validation.
        steps: Batches in an epoch, or of the evaluation that the run is; None if not known.
        validation_steps: Batches of a validation; None if not known.
        batches: Batches of the latest evaluation or prediction.
        samples: The first batch of the latest pass of each kind ("train", "test"), to look at.
        introduces: The run is giving itself and its model to the callbacks.

    Raises:
        ConfigurationError: On entering, for what surely cannot work.

    Example:
        >>> with Run(epochs=2, verbose=0) as run:
        ...     for epoch in run.epochs():
        ...         for batch in run.train([[1.0], [3.0]]):
        ...             run.log(loss=batch[0])
        >>> run.history.history
        {'loss': [2.0, 2.0]}
    """

    progress_display: ClassVar[Callable[[], type[Callback]] | None] = None
    """Says what shows progress unless ``verbose=0``; the package's front door sets it."""

    backup: ClassVar[Callable[[Path], Callback] | None] = None
    """Returns the callback for ``directory=``; the package's front door sets it."""

    witnesses: ClassVar[tuple[Callback, ...]] = ()
    """Callbacks that every run gets, for tests."""

    ends_surely: ClassVar[bool] = True
    """Whether the end of the run is noticed, however it ends: it is a ``with`` block."""

    wakes_for_bad_losses = False
    """Whether the loop looks at every loss and update itself, and wakes callbacks for a bad one."""

    metrics_by = ""
    """What to pass to have metrics, if not validation data; for errors where they are missing."""

    def __init__(
        self,
        model: object = None,
        optimizer: object = None,
        *,
        state: Any = None,
        epochs: int = 1,
        callbacks: Iterable[Any] = (),
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        verbose: int | str = "auto",
        stateful: Mapping[str, Any] | None = None,
        directory: str | os.PathLike[str] | None = None,
        max_time: float | str | None = None,
        metrics: Mapping[str, Mode | None] | None = None,
        validation: bool | None = None,
        trainable: Trainable | None = None,
        purpose: Purpose = "train",
    ) -> None:
        if state is not None:
            if model is not None or optimizer is not None:
                raise ConfigurationError("pass Run(state=...) or Run(model=...), not both")
            trainable = trainable_of_state(state)
        super().__init__(
            trainable or trainable_of(model, optimizer),
            CallbackList([callbacks]),
            has_state=state is not None,
            epochs=epochs,
            initial_epoch=initial_epoch,
            steps=steps_per_epoch,
            verbose=verbose,
            metrics=metrics,
            validation=validation,
            purpose=purpose,
        )
        self.stateful = named(stateful, "stateful")
        for name, item in self.stateful.items():
            check_stateful(name, item)
        self.callbacks = self._with_defaults(directory)
        self.history: History = next(c for c in self.callbacks if isinstance(c, History))
        self._begun = self.introduces = False
        self.saver: Any = None  # what writes checkpoints of this run, made by who needs it first
        self.boundary = Boundary(self, max_time)
        self._cut = Cut(self)
        self._passes = Passes(
            samples=self.samples,
            counted=self._count,
            finished=self._finish,
            is_over=self._is_over,
        )
        self.means = Means()

    def __repr__(self) -> str:
        at = self.progress
        return f"Run(epoch {at.epoch} of {self.epoch_count}, step {at.step})"

    # ---- the loop's side -------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._begun:
            raise RunStateError("a Run is for one run; make a new one")
        check_free(self)
        self._begun = True
        try:
            if self.purpose == "train":  # an evaluation inside a run must not undo its stop
                self.model.stop_training = False
            self.introduces = True
            self.callbacks.each("set_run", self)
            self.callbacks.each("set_model", self.model)
            self.introduces = False
            self.callbacks.each("set_params", self.params)
            check_configuration(self)
            if self.trainable.rank:
                self.callbacks.mute_writers()
            self.callbacks.resolve()
            self._begin()
        except BaseException as error:
            self._tear_down(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self.purpose == "train":
                self._passes.close()
                if self.in_epoch:  # the user's loop was left by break
                    self.stop_reason = self.stop_reason or "the loop was left"
                    self._leave_epoch()
                self.callbacks.on_train_end(self.logs)
            if error is None:
                self.boundary.answer()
        except BaseException as late:
            error = late
            raise
        finally:
            self._tear_down(error)

    def epochs(self) -> Iterator[int]:
        """Yield the epochs still to do, from 0; ends early when a callback asked to stop."""
        self._require_begun("epochs")
        if self.in_epoch and not self._cut.resumes_epoch:  # an earlier loop was left by break
            self._leave_epoch()
        while self._cut.resumes_epoch or (self.next_epoch < self.epoch_count and not self.stopping):
            if self._cut.resumes_epoch:  # its beginning was before the run was interrupted
                self._cut.resumes_epoch = False
                yield self.progress.epoch
                if self._leave_epoch():
                    return
                continue
            before = self.logs
            self._begin_epoch(self.next_epoch)
            if self.stopping:  # asked for by on_epoch_begin: the epoch does not take place
                self.in_epoch = False
                self.logs = before
                return
            self.next_epoch += 1
            yield self.progress.epoch
            if self._leave_epoch():
                return

    def train(
        self, data: Iterable[Any], *, logs: Callable[[], Logs] | None = None
    ) -> Iterator[Any]:
        """Yield the training batches of one epoch, with the batch hooks around your loop's body.

        A batch that your loop leaves by ``break`` counts if it has logged something. In an epoch
        that a resumed run was interrupted in, the batches that were done are skipped.

        Args:
            data: The batches.
            logs: Returns the epoch's metrics so far, for a loop that keeps its own and skips by
                itself what was done.
        """
        if not self.in_epoch:
            raise RunStateError("run.train(...) belongs inside `for epoch in run.epochs():`")
        if self.steps is None:
            self.steps = length_of(data)
        begun = self.progress.batch  # an epoch may take several passes
        over = begun and self.stopping  # asked for just before the run was interrupted
        current = Pass("train", self.callbacks, self.means, begun)
        current.reported = logs
        if over:
            data = ()
        elif not logs:
            data = self._cut.remaining(data)
        return self._passes.iterate(data, current)

    def validate(self, data: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of a validation; what is logged becomes ``val_*`` of the epoch."""
        self._require_begun("validate")
        if self.paused:
            return iter(())
        length = length_of(data)
        if self.purpose == "train":
            self.validation_steps = self.validation_steps if length is None else length
        elif self.steps is None:
            self.steps = length
        return self._passes.iterate(data, Pass("test", self.callbacks))

    def predict(self, data: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of a prediction, with its hooks."""
        self._require_begun("predict")
        if self.purpose == "predict" and self.steps is None:
            self.steps = length_of(data)
        return self._passes.iterate(data, Pass("predict", self.callbacks))

    def log(
        self,
        metrics: Mapping[str, Any] | None = None,
        /,
        *,
        weight: float | None = None,
        **more: Any,
    ) -> None:
        """Add a batch's metrics to the means of the epoch, or of the validation.

        Args:
            metrics: Values by name: numbers or 0-d arrays, which stay on their device until read.
            weight: Samples that the values are means over; by default the length of the batch.
            **more: Further values by name.

        Raises:
            RunStateError: Outside of ``train()`` and ``validate()``.
            DataError: For a value that is not one number, or a weight that is no number of samples.
        """
        current = self._passes.current("log")
        if metrics:
            more = {**metrics, **more}
        weight = sample_count(current.item) if weight is None else sample_weight(weight)
        current.means.add(more, weight)
        current.took(steps=1, samples=int(weight))

    def data_is_ready(self) -> None:
        """Say that a loop which skips by itself has opened its data and skipped what was done."""
        self._cut.data_is_ready()

    def training_is_done(self) -> None:
        """Say that an epoch has no more training, and nothing of the loop but its validation."""
        if self.saves and not self.paused:
            self._cut.training_ends()

    def report(self, logs: Callable[[], Logs], *, steps: int, samples: int) -> None:
        """Say what the running metrics are now, for a loop that keeps its own.

        Args:
            logs: Returns the metrics of the pass so far; called when somebody wants them.
            steps: Batches since the last report.
            samples: Samples since the last report.
        """
        current = self._passes.current("report")
        current.reported = logs
        current.took(steps=steps, samples=samples)

    # ---- the state of the whole run --------------------------------------------------------------

    def at_boundary(self, action: Callable[[], None]) -> None:
        """Do something between two steps, when every callback has had its hook.

        There the state of the whole run is consistent, so that it may be saved. An error that the
        action raises ends the run. May be called from other threads.
        """
        self.boundary.add(action)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the whole run, at a boundary between two steps, nothing copied."""
        return self._cut.state_dict()

    @property
    def elapsed_s(self) -> float:
        """Seconds that the run has taken, over all its starts."""
        return self._cut.elapsed_s

    # ---- inside ----------------------------------------------------------------------------------

    def _with_defaults(self, directory: str | os.PathLike[str] | None) -> CallbackList:
        given = self.callbacks
        defaults: list[Callback] = [*self.witnesses]
        backup, progress_display = type(self).backup, type(self).progress_display
        if directory is not None and backup is not None:
            defaults.append(backup(Path(directory) / "backup"))
        if not any(isinstance(callback, History) for callback in given):
            defaults.append(History())
        if progress_display is not None and self.verbose:
            display = progress_display()
            if not any(isinstance(callback, display) for callback in given):
                defaults.append(display())
        return CallbackList([given, defaults]) if defaults else given

    def _require_begun(self, method: str) -> None:
        if not self._begun or self._ended:
            raise RunStateError(f"run.{method}() belongs inside `with Run(...) as run:`")

    def _begin(self) -> None:
        """Begin, or go on with a run that was saved."""
        self.boundary.begin()
        if self.purpose != "train":
            return
        found = self._cut.found()
        self._cut.begin()
        self.callbacks.on_train_begin(Logs())
        if found is not None:
            callback, state = found
            self._cut.load_state_dict(state)
            callback.resumed()

    def _leave_epoch(self) -> bool:
        """End an epoch whose loop is through; say whether the run ends in the middle of it."""
        if self.paused:
            self.in_epoch = False
            return True
        self._end_epoch()
        self.boundary.reach()
        return False

    def _begin_epoch(self, epoch: int) -> None:
        self._cut.epoch_begins()
        self.progress.epoch = epoch
        self.progress.batch = 0
        self.means = Means()
        self.logs = Logs()
        self.validated = False
        self.in_epoch = True
        self.callbacks.on_epoch_begin(epoch, Logs())

    def _end_epoch(self) -> None:
        self._passes.close()
        self._cut.epoch_ends()
        self.in_epoch = False
        self.logs = self.logs.sorted()
        if self.rate_is_controlled:
            # Added here, not by the callbacks that change it: so all see the rate of this epoch.
            self.logs["learning_rate"] = self.learning_rate
        with self.messages.held():
            self.callbacks.on_epoch_end(self.progress.epoch, self.logs)

    def _count(self, current: Pass, steps: int, samples: int) -> None:
        if current.kind == "train":
            progress = self.progress
            progress.batch = current.batch
            progress.step += steps
            progress.samples += samples

    def _finish(self, current: Pass) -> None:
        logs = current.logs()
        if current.kind != "predict":
            logs = self.trainable.reduced(logs)
        if current.kind == "train":
            if not current.batch and current.item is None:  # not left in the first batch
                raise DataError(
                    f"run.train(...) got no batch in epoch {self.progress.epoch + 1}; a generator "
                    "can be iterated once: pass a list or a loader, or make a new one every epoch"
                )
            self._cut.pass_ends(current.batch)
            self.logs = Logs({**self.logs.unread, **logs.unread})
        elif self.paused:  # the validation was cut off
            return
        elif current.kind == "test":
            self.validated = True
            self._cut.validation_ends()
            prefix = "val_" if self.purpose == "train" else ""
            prefixed = {prefix + name: value for name, value in logs.unread.items()}
            self.logs = Logs({**self.logs.unread, **prefixed})
            self.batches = current.batch
            self.callbacks.on_test_end(Logs(logs))
        else:
            self.batches = current.batch
            self.callbacks.on_predict_end(Logs())

    def _is_over(self, current: Pass) -> bool:
        """Say whether a pass ends after the current batch."""
        if current.kind == "train":
            if self.boundary.is_needed:
                self.boundary.reach()
            return self.stopping
        if not self.saves:
            self.boundary.answer()
        elif self._cut.in_validation and self.boundary.may_interrupt:
            self.boundary.reach()
        return self.paused

    def _tear_down(self, error: BaseException | None) -> None:
        """Close every callback; an error in closing adds a note to the error there is."""
        self._ended = True
        self.in_epoch = False
        self._passes.forget()
        try:
            close(self.callbacks, error, self.saver)
        finally:
            self.boundary.end()
