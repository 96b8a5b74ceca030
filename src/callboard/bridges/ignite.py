"""Ignite: ``Callbacks([...]).attach(trainer, evaluator)``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from ignite.engine import Engine, Events

from callboard._core.errors import ConfigurationError
from callboard._core.logs import plain
from callboard._core.samples import sample_count
from callboard.bridges.bridge import Bridge
from callboard.bridges.running_mean import RunningMean
from callboard.bridges.tensor_state import with_arrays, with_tensors

__all__ = ["Callbacks"]

_FOLD = 64  # batches that are counted together where nobody hears of each


class Callbacks(Bridge):
    """Callbacks for Ignite's engines.

    ``attach`` goes before ``trainer.run``, whatever else is attached before or after it: the end of
    an epoch is reported when the trainer's other handlers, such as one that runs the evaluator,
    have had it. Metrics of the trainer keep their names in the logs, those of the evaluator get
    ``val_``. What the trainer's function returns is the ``loss``, if it is a number; numbers in a
    dict have their names. The states of the callbacks go into Ignite's checkpoints by
    ``to_save={"callbacks": callbacks, ...}``. A stop is ``trainer.terminate()``.

    An error is reported and goes on to the caller. (Ignite swallows errors that have a handler.)

    Args:
        callbacks: Callbacks, in any order.
        model: The module that is trained.
        optimizer: Its optimizer.
        verbose: 1 shows progress, 2 prints a line an epoch.
        output_transform: Returns numbers by name for what the trainer's function returns.

    Attributes:
        run: The :class:`callboard.Run` of the latest training, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; before the first
            batch for what surely cannot work.
        UnsupportedError: When training begins, for ``BackupAndRestore``.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> trainer = Engine(lambda engine, batch: batch)
        >>> callbacks = Callbacks([EarlyStopping("loss", patience=1)]).attach(trainer)
        >>> trainer.run([2.0, 4.0], max_epochs=9).epoch
        2
        >>> callbacks.history.history
        {'loss': [3.0, 3.0]}

    Source: Ignite 0.5 ``ignite.engine``.
    """

    _wakes_for_bad_losses = True
    _resumes_by = "put the callbacks into to_save of Ignite's Checkpoint, which brings this back"

    def __init__(
        self,
        callbacks: Iterable[Any] = (),
        *,
        model: Any = None,
        optimizer: Any = None,
        verbose: int = 0,
        output_transform: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._model = model
        self._optimizer = optimizer
        self._transform = output_transform or _numbers
        self._means: dict[str, RunningMean] = {}
        self._counts_batches = True
        self._uncounted: list[tuple[float, int]] = []  # losses of batches, with their samples
        self._validation: dict[str, Any] = {}
        self._saved_end: Mapping[str, Any] | None = None
        self._trainer: Engine | None = None
        self._evaluator: Engine | None = None

    def attach(self, trainer: Engine, evaluator: Engine | None = None) -> Self:
        """Take part in the trainings of an engine.

        Args:
            trainer: The engine that trains.
            evaluator: The engine whose metrics after an epoch are ``val_*``.
        """
        if trainer is self._trainer:
            raise ConfigurationError("these callbacks are attached to this trainer already")
        self._trainer, self._evaluator = trainer, evaluator
        trainer.add_event_handler(Events.STARTED, self._started)
        trainer.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        if evaluator is not None:
            evaluator.add_event_handler(Events.STARTED, self._evaluation_started)
            evaluator.add_event_handler(Events.COMPLETED, self._evaluation_completed)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the callbacks, for Ignite's checkpoint; arrays as tensors."""
        if self._trainer is not None:
            self._catch_up(self._trainer)
        state = super().state_dict()
        if self._is_running and self.run.in_epoch and self._is_trained:
            # The end of the epoch is reported after all handlers, so after one that saves.
            state["end_of_epoch"] = {name: plain(value) for name, value in self._epoch().items()}
        return dict(with_tensors(state))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``, when the next training begins."""
        super().load_state_dict(with_arrays(state))

    def _make_up_for_the_end(self) -> None:
        """End the epoch after whose batches the state was saved."""
        end, self._saved_end = self._saved_end, None
        if end is not None and self.run.in_epoch:
            self.run.end_epoch(end)

    @property
    def _is_trained(self) -> bool:
        """Whether the epoch has had all its batches."""
        state: Any = self._trainer and self._trainer.state
        return bool(state and state.epoch_length and state.iteration % state.epoch_length == 0)

    def _started(self, trainer: Engine) -> None:
        for event, handler in (
            (Events.EPOCH_COMPLETED, self._epoch_completed),
            (Events.COMPLETED, self._completed),
            (Events.EXCEPTION_RAISED, self._exception_raised),
        ):
            # Attached anew, to come after all that was attached meanwhile.
            if trainer.has_event_handler(handler, event):
                trainer.remove_event_handler(handler, event)
            trainer.add_event_handler(event, handler)
        self._validation = {}
        self._uncounted = []
        self._saved_end = (self._state or {}).get("end_of_epoch")
        self._begin(
            self._model,
            self._optimizer,
            epochs=trainer.state.max_epochs or 0,
            initial_epoch=trainer.state.epoch,
            steps_per_epoch=trainer.state.epoch_length,
            validation=None if self._evaluator else False,
            metrics_by="an evaluator to attach",
        )
        self._counts_batches = self._follows_batches or self._transform is not _numbers
        self._make_up_for_the_end()
        started = Events.ITERATION_STARTED
        self._listen(trainer, started, "on_train_batch_begin", self._iteration_started)
        if self.run.stopping:
            trainer.terminate()

    def _listen(
        self, engine: Engine, event: Events, hook: str, handler: Callable[..., None]
    ) -> None:
        """Have an engine call a handler only if a callback wants that: each call costs it time."""
        is_attached = engine.has_event_handler(handler, event)
        is_wanted = not self.run.callbacks.idle(hook)
        if is_wanted and not is_attached:
            engine.add_event_handler(event, handler)
        if is_attached and not is_wanted:
            engine.remove_event_handler(handler, event)

    def _epoch_started(self, trainer: Engine) -> None:
        self._means = {}
        self._validation = {}
        self.run.begin_epoch(trainer.state.epoch - 1)
        if self.run.stopping:
            trainer.terminate()

    def _iteration_started(self, trainer: Engine) -> None:
        self.run.begin_batch()

    def _iteration_completed(self, trainer: Engine) -> None:
        state = trainer.state
        output, samples = state.output, sample_count(state.batch)
        # Neither the first batch of an epoch nor a bad one, and with a plain loss.
        may_wait = type(output) is float and self._means and output - output == 0.0
        if may_wait and not (self._counts_batches or self._is_awake):
            self._uncounted.append((output, samples))
            if len(self._uncounted) >= _FOLD:
                self._catch_up(trainer)
            return
        self._catch_up(trainer)
        run = self.run
        if not run.progress.batch:
            run.samples["train"] = state.batch
        for name, value in self._transform(output).items():
            mean = self._mean(name)
            mean.add(value, samples)
            if not mean.is_finite:
                self._wake()
        if run.end_batch(self._logs, samples=samples):
            trainer.terminate()

    def _catch_up(self, trainer: Engine) -> None:
        """Count the batches of the epoch that were not looked at one by one."""
        uncounted, self._uncounted = self._uncounted, []
        if not uncounted:
            return
        mean = self._mean("loss")
        for loss, samples in uncounted:
            mean.add(loss, samples)
        if self.run.count(len(uncounted), samples=sum(samples for _, samples in uncounted)):
            trainer.terminate()

    def _mean(self, name: str) -> RunningMean:
        mean = self._means.get(name)
        if mean is None:
            mean = self._means[name] = RunningMean(name)
        return mean

    def _logs(self) -> dict[str, Any]:
        return {name: mean.so_far() for name, mean in self._means.items()}

    def _evaluation_started(self, evaluator: Engine) -> None:
        if self._is_running:
            for event, hook, handler in (
                (Events.ITERATION_STARTED, "on_test_batch_begin", self._evaluation_batch_started),
                (Events.ITERATION_COMPLETED, "on_test_batch_end", self._evaluation_batch_done),
            ):
                self._listen(evaluator, event, hook, handler)
            if self._trainer is not None:
                self._catch_up(self._trainer)
            self.run.begin_validation()

    def _evaluation_batch_started(self, evaluator: Engine) -> None:
        if self._is_running:
            self.run.begin_validation_batch(evaluator.state.iteration - 1)

    def _evaluation_batch_done(self, evaluator: Engine) -> None:
        if self._is_running:
            self.run.end_validation_batch(evaluator.state.iteration - 1)

    def _evaluation_completed(self, evaluator: Engine) -> None:
        if self._is_running:
            metrics = dict(evaluator.state.metrics)
            self._validation = {f"val_{name}": value for name, value in metrics.items()}
            self.run.end_validation(metrics)

    def _epoch_completed(self, trainer: Engine) -> None:
        self._catch_up(trainer)
        if self.run.end_epoch(self._epoch()):
            trainer.terminate()

    def _epoch(self) -> dict[str, Any]:
        """Return the metrics of the epoch, as far as they are known."""
        metrics = self._trainer.state.metrics if self._trainer else {}
        return {**self._logs(), **metrics, **self._validation}

    def _completed(self, trainer: Engine) -> None:
        self._catch_up(trainer)
        if self.run.in_epoch and self.run.progress.batch:  # terminated in the middle of it
            self.run.end_epoch(self._epoch())
        self._end()

    def _exception_raised(self, trainer: Engine, error: BaseException) -> None:
        self._catch_up(trainer)
        self._fail(error)
        raise error

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the engines too: a copy is to be attached to others."""
        return {**super().__getstate__(), "_trainer": None, "_evaluator": None}


def _numbers(output: Any) -> Mapping[str, Any]:
    """Return the numbers in what a trainer's function returns."""
    if type(output) is float:  # as most return; to ask about a Mapping takes long
        return {"loss": output}
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items() if _is_number(value)}
    return {"loss": output} if _is_number(output) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or getattr(value, "shape", None) == ()
