"""One call of a Keras model's ``fit``, ``evaluate`` or ``predict``, as a run hears of it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError, RunStateError
from callboard._core.hosted import HostedRun
from callboard._core.logs import Logs
from callboard._core.passes import Purpose
from callboard._core.randomness import random_states, restore_random_states
from callboard.keras.data import ResumableData
from callboard.keras.metrics import logged_metrics
from callboard.keras.train_function import look_at_first_batch, restore, skip_batches
from callboard.keras.trainable import KerasTrainable
from callboard.keras.variables import assign, by_path, matched, read

__all__ = ["Reporter"]


class Reporter:
    """Turns the hooks of one call of Keras's loop into the reports of a run.

    Keras may call the hooks at the end of batches in other threads and in any order. They reach
    the callbacks, which have said that they can bear it; steps are then counted when the next batch
    begins.

    Args:
        model: The model.
        callbacks: Its callbacks of ours.
        params: Keras's ``verbose``, ``epochs`` and ``steps``.
        sample: Inputs to look at, or None.
        data: The data that the loop is given, if it can be gone on with by itself.
        **options: Of the :class:`HostedRun`.
    """

    _running: ClassVar[weakref.WeakSet[Reporter]] = weakref.WeakSet()

    def __init__(
        self,
        model: Any,
        callbacks: Iterable[Any],
        params: Mapping[str, Any],
        *,
        sample: Any = None,
        data: ResumableData | None = None,
        **options: Any,
    ) -> None:
        self.model = model
        self._callbacks = callbacks
        self._params = params
        self._options = options
        self._sample = sample
        self._data = data
        self._thread = threading.get_ident()
        self._epoch = _EpochState(model)
        self._to_skip = 0
        self._begun = 0
        self.run: HostedRun | None = None

    @property
    def is_over(self) -> bool:
        """Whether the call has ended, as far as that has shown."""
        return self.run is not None and self.run.is_over

    # ---- training --------------------------------------------------------------------------------

    def train_begin(self) -> None:
        """Begin the run, and have Keras go on where a saved one was."""
        own = {"keras": self._epoch}
        run = self._begin("train", own if self._data is None else {**own, "data": self._data})
        self._epoch.run = run
        if run.in_epoch:
            first = run.progress.epoch
        else:
            first = run.epoch_count if run.stopping else run.next_epoch
        # Keras reads this next. It prefers its own argument to a 0, which is the same then.
        self.model._initial_epoch = first  # noqa: SLF001 - the way that BackupAndRestore has
        if run.samples.get("train") is None and _looks_at_data(run):
            look_at_first_batch(self.model, self._take_sample)

    def epoch_begin(self, epoch: int) -> None:
        """Begin an epoch, or go on in one."""
        run = self._current()
        resumes = run.in_epoch
        run.begin_epoch(epoch)
        self._begun = 0
        if self._data is not None:
            self._data.begin(run, epoch)
        if not resumes:
            self._epoch.begins()
            return
        self._begun = self._to_skip = run.progress.batch
        self._epoch.goes_on()
        skip_batches(self.model, self._to_skip, self._epoch.metrics_after, run.data_is_ready)

    def train_batch_begin(self, batch: int) -> None:
        """Begin a batch; the one before has ended, even if that was not heard here."""
        if batch < self._to_skip:
            return
        run = self._current()
        if run.progress.batch < batch:
            run.count(batch - run.progress.batch)
        self._begun = batch + self._per_execution()
        run.begin_batch()

    def train_batch_end(self, batch: int, logs: Mapping[str, Any] | None) -> None:
        """End batches up to this one."""
        if batch < self._to_skip:
            return
        run = self._current()
        if threading.get_ident() != self._thread:
            run.call_batch_end(batch, Logs(logs or {}))
            return
        run.end_batch(logs, steps=self._until(batch + 1) - run.progress.batch)

    def epoch_end(self, logs: dict[str, Any]) -> None:
        """End an epoch; what callbacks add to its metrics is put into Keras's."""
        run = self._current()
        self._count_the_rest()
        self._epoch.ends()
        run.end_epoch(logs)
        logs.update(run.logs)

    def train_end(self) -> None:
        """End the run."""
        run = self._current()
        self._running.discard(self)
        self._forget()
        run.end()

    # ---- evaluation and prediction ---------------------------------------------------------------

    def test_begin(self) -> None:
        """Begin a validation, or a run that only evaluates."""
        if self.run is None:
            self._begin("test", {})
        else:
            self._count_the_rest()
        self._current().begin_validation()

    def test_batch_begin(self, batch: int) -> None:
        """Begin a batch of it."""
        self._current().begin_validation_batch(batch)

    def test_batch_end(self, batch: int, logs: Mapping[str, Any] | None) -> None:
        """End a batch of it."""
        self._current().end_validation_batch(batch, logs)

    def test_end(self, logs: Mapping[str, Any]) -> None:
        """End it."""
        run = self._current()
        run.end_validation(logs)
        if run.purpose == "test":
            run.end()

    def predict_begin(self) -> None:
        """Begin a run that only predicts."""
        self._begin("predict", {}).callbacks.on_predict_begin(Logs())

    def predict_batch_begin(self, batch: int) -> None:
        """Begin a batch of it."""
        self._current().callbacks.on_predict_batch_begin(batch, Logs())

    def predict_batch_end(self, batch: int, logs: Mapping[str, Any] | None) -> None:
        """End a batch of it, with its outputs."""
        self._current().callbacks.on_predict_batch_end(batch, Logs(logs or {}))

    def predict_end(self) -> None:
        """End it."""
        run = self._current()
        run.callbacks.on_predict_end(Logs())
        run.end()

    def fail(self, error: BaseException) -> None:
        """End the run by an error that Keras does not tell its callbacks."""
        self._running.discard(self)
        if self.run is None or self.run.is_over:
            return
        self._forget()
        _ = self.run.trainable.model  # puts the state back that Keras has taken out
        self.run.fail(error)

    # ---- inside ----------------------------------------------------------------------------------

    def _begin(self, purpose: Purpose, stateful: Mapping[str, Any]) -> HostedRun:
        trainable = KerasTrainable(self.model)
        options = dict(self._options)
        options["stateful"] = {**(options.get("stateful") or {}), **stateful}
        if purpose != "train":  # an evaluation has nothing to go on with
            options["directory"] = options["max_time"] = None
        metrics, complete = logged_metrics(self.model)
        if not complete:
            options["validation"] = None  # then no name is taken for a wrong one
        run = HostedRun(
            trainable=trainable,
            callbacks=self._callbacks,
            epochs=self._params.get("epochs") or 1,
            steps_per_epoch=self._params.get("steps"),
            verbose=self._params.get("verbose", "auto"),
            metrics=metrics,
            purpose=purpose,
            **options,
        )
        self.run = run
        if purpose == "train":
            _check_schedule(run, trainable.rate_controller)
            self._end_those_given_up()
        if self._sample is not None:
            run.samples["train"] = (self._sample,)
        run.begin()
        return run

    def _end_those_given_up(self) -> None:
        """End trainings that an error has ended, of which Keras says nothing.

        What trains the same model, has the same callbacks, or writes the same files, in the same
        thread, cannot still be going on.
        """
        for other in list(self._running):
            # One that has begun no epoch may be a second group in the list of this same fit.
            same_model = other.model is self.model and other._begun > 0  # noqa: SLF001 - as below
            same = same_model or other.claims() & self.claims()
            if same and other._thread == self._thread:  # noqa: SLF001 - one of this class
                other.fail(RunStateError("the training was given up: another one has begun"))
        self._running.add(self)

    def claims(self) -> set[Any]:
        """Return the callbacks, and the paths they write."""
        callbacks = () if self.run is None else self.run.callbacks
        ours = [callback for callback in callbacks if isinstance(callback, Callback)]
        paths = {path.resolve() for callback in ours for path in callback.writes()}
        return paths | {id(callback) for callback in callbacks}

    def _current(self) -> HostedRun:
        if self.run is None or self.run.is_over:
            raise RunStateError(
                "Keras called a hook of callbacks whose training has not begun or is over; give "
                "them to fit(callbacks=[...]), each in one list"
            )
        return self.run

    def _per_execution(self) -> int:
        return int(self.model.steps_per_execution or 1)

    def _until(self, batch: int) -> int:
        """Return the number of batches done, of which an execution may announce too many."""
        steps = self._params.get("steps")
        return min(batch, steps) if steps else batch

    def _count_the_rest(self) -> None:
        run = self._current()
        missing = self._until(self._begun) - run.progress.batch
        if run.purpose == "train" and missing > 0:
            run.count(missing)

    def _take_sample(self, batch: Any) -> None:
        self._current().samples["train"] = batch

    def _forget(self) -> None:
        """Leave the model as it was: Keras would begin its next fit with our epoch."""
        self.model._initial_epoch = None  # noqa: SLF001 - as above
        restore(self.model)


class _EpochState:
    """What an epoch that is interrupted needs besides the state of the run.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._random: dict[str, Any] | None = None
        self._metrics: Mapping[str, Any] | None = None
        self._logs: dict[str, Any] = {}
        self.run: HostedRun | None = None

    def begins(self) -> None:
        """Note the random states that the order of the epoch's data comes from."""
        if self.run is not None and self.run.saves:
            self._random = random_states()

    def ends(self) -> None:
        """Forget them."""
        self._random = self._metrics = None

    def goes_on(self) -> None:
        """Have the data in the same order again, and the metrics as they were."""
        if self._random is not None:
            restore_random_states(self._random)
        self._put_metrics_back()

    def metrics_after(self, batch: Any) -> dict[str, Any]:
        """Return the metrics of the epoch so far, given one of the batches that are skipped."""
        if self._metrics is not None:  # TensorFlow's are not built before they have seen a batch
            self._model.test_on_batch(*batch)
            self._put_metrics_back()
        return self._logs

    def _put_metrics_back(self) -> None:
        variables = self._variables()
        if self._metrics is not None and len(variables) == len(self._metrics):
            assign(variables, matched(variables, self._metrics, "metrics"))
            self._metrics = None
            self._logs = dict(self._model.get_metrics_result())

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics' sums, and the random states at the beginning of the epoch."""
        if self._random is None:
            return {"random": None, "metrics": None}
        return {"random": self._random, "metrics": read(self._variables())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._random, self._metrics = state["random"], state["metrics"]

    def _variables(self) -> dict[str, Any]:
        model = self._model if self.run is None else self.run.trainable.model
        return by_path(model.metrics_variables)


def _looks_at_data(run: HostedRun) -> bool:
    return any(getattr(callback, "looks_at_data", False) for callback in run.callbacks)


def _check_schedule(run: HostedRun, schedule: str) -> None:
    """Raise if a callback would set a learning rate that Keras lets nobody set."""
    if not schedule:
        return
    for callback in run.callbacks:
        if isinstance(callback, Callback) and callback.rate_control:
            raise ConfigurationError(
                f"{type(callback).__name__} sets the learning rate, and {schedule} sets it anew in "
                "every step; compile with a number for it, or leave the callback out"
            )
