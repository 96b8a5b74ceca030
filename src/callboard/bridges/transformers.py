"""Hugging Face: ``Trainer(callbacks=[Callbacks([...])])``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from callboard._core.errors import ConfigurationError
from callboard._core.logs import Means
from callboard.bridges.bridge import Bridge
from callboard.bridges.json_state import decoded, encoded
from callboard.bridges.names import renamed, translated

__all__ = ["Callbacks"]

_NOT_METRICS = ("epoch", "grad_norm", "learning_rate", "step", "total_flos")
_SPEEDS = ("_runtime", "_per_second", "_compilation_time", "_preparation_time")


class Callbacks(Bridge, TrainerCallback, ExportableState):
    """Callbacks for the ``Trainer`` of Hugging Face, as one of its own.

    The Trainer evaluates after its own end of the epoch; ``on_epoch_end`` is called when that is
    done. ``eval_loss`` is ``val_loss`` in the logs, and can be read by the other name too. The
    Trainer tells its loss only when it logs, so it is asked to at every end of an epoch; between,
    the logs of a batch have the ``loss`` as of ``logging_steps``. A batch is an update of the
    weights, of ``gradient_accumulation_steps`` batches of the loader.

    A learning rate that a callback sets is where the Trainer's own schedule goes on from. The
    callbacks' states are in ``trainer_state.json``, and come back with
    ``train(resume_from_checkpoint=...)``. A stop is ``control.should_training_stop``.

    Its measurements of speed and the norm of gradients are left out of the logs.

    The Trainer does not tell its callbacks of errors and Ctrl-C: for ``on_exception`` and ``close``
    go ``with Callbacks([...]) as callbacks:`` around ``train()``.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 shows progress besides the Trainer's own, 2 prints a line an epoch.
        evaluations: Evaluations after an epoch: as many as ``eval_dataset`` has, if it is a dict.

    Attributes:
        run: The :class:`callboard.Run` of the latest ``train``, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; before the first
            batch for what surely cannot work.
        UnsupportedError: In ``train``, for ``BackupAndRestore``.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> callbacks = Callbacks([EarlyStopping(patience=3)])  # for Trainer(callbacks=[callbacks])

    Source: transformers 5.23 ``TrainerCallback``.
    """

    _wakes_for_bad_losses = True
    _resumes_by = (
        "save the Trainer's checkpoints and pass train(resume_from_checkpoint=...), which bring "
        "this back"
    )

    def __init__(
        self, callbacks: Iterable[Any] = (), *, verbose: int = 0, evaluations: int = 1
    ) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._evaluations = evaluations
        self._means = Means()
        self._logged_at = 0  # step of the latest log
        self._evaluation: dict[str, Any] = {}
        self._in_validation = False
        self._awaited = 0  # reports that are still to come at the end of an epoch
        self._steps_before = 0  # that the Trainer had done before the run began
        self._counts_batches = True

    def state(self) -> dict[str, Any]:
        """Return the states of the callbacks, for the Trainer's checkpoint."""
        saved = {
            **self.state_dict(),
            "means": self._means.state_dict(),
            "evaluation": self._evaluation,
            "steps_before": self._steps_before,
        }
        return {"args": {}, "attributes": {"saved": encoded(saved)}}

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **given: Any,
    ) -> None:
        """Begin the run, or go on with the one in the checkpoint that the Trainer has loaded."""
        saved = (state.stateful_callbacks or {}).get(type(self).__name__) or {}
        self._means, self._evaluation = Means(), {}
        self._steps_before = state.global_step
        if state.global_step and "saved" in saved.get("attributes", {}):
            earlier = decoded(saved["attributes"]["saved"])
            self._means.load_state_dict(earlier["means"])
            self._evaluation = earlier["evaluation"]
            self._steps_before = earlier["steps_before"]
            self.load_state_dict(earlier)
        steps = _steps_per_epoch(args, given.get("train_dataloader"))
        schedule = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
        run = self._begin(
            given["model"],
            given["optimizer"],
            # Of data without a length nobody knows how many epochs the steps are.
            epochs=max(state.num_train_epochs, 1) if steps else 0,
            initial_epoch=int(state.epoch or 0),
            steps_per_epoch=steps,
            validation=None if _evaluates(args) else False,
            metrics_by="eval_dataset= to the Trainer and eval_strategy= to its arguments",
            rate_controller=""
            if schedule == "constant"
            else f"the Trainer's lr_scheduler_type={schedule}",
        )
        self._counts_batches = self._follows_batches
        self._logged_at = state.global_step
        self._awaited = 0
        self._in_validation = False
        control.should_training_stop |= run.stopping

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Report the beginning of an epoch."""
        run = self.run
        # The Trainer's own number counts steps, of all that there are if the data has no length.
        epoch = max(int(state.epoch or 0), run.progress.epoch if run.in_epoch else run.next_epoch)
        if not run.in_epoch or epoch > run.progress.epoch:  # otherwise it is gone on with
            self._means = Means()
            self._evaluation = {}
        self._awaited = 0
        self._guarded(run.begin_epoch, epoch)
        _keep_rate(given["optimizer"], given["lr_scheduler"])
        control.should_training_stop |= self.run.stopping

    # These two have a name for all that the Trainer gives: it takes half the time of a dict.

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        processing_class: Any = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        train_dataloader: Any = None,
        eval_dataloader: Any = None,
        **given: Any,
    ) -> None:
        """Report the beginning of an update."""
        if self._counts_batches:  # else no callback can have set the rate since the epoch began
            _keep_rate(optimizer, lr_scheduler)
            self._guarded(self.run.begin_batch)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        processing_class: Any = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        train_dataloader: Any = None,
        eval_dataloader: Any = None,
        **given: Any,
    ) -> None:
        """Report the end of an update."""
        control.should_log |= control.should_save  # its checkpoint lacks what it has not logged
        if not self._counts_batches:
            if not self._is_awake:
                return
            self._catch_up(state, but=1)
        try:
            stops = self.run.end_batch(self._means.logs)
        except BaseException as error:
            self._fail(error)
            raise
        if stops:
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Take the loss over the updates since the log before."""
        steps = state.global_step - self._logged_at
        if not self._is_running or not logs or "loss" not in logs or steps <= 0:
            return
        self._logged_at = state.global_step
        self._means.add(_metrics(logs), weight=steps)
        if not math.isfinite(logs["loss"]):
            self._wake()
        if self._awaited == 1 and not self._waits_for_evaluation:
            self._end_epoch(control)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Report a batch of an evaluation inside of ``train``."""
        if not self._is_running:
            return
        if not self._in_validation:
            self._in_validation = True
            self._batch = 0
            self._catch_up(state)
            self._guarded(self.run.begin_validation)
        self._guarded(self.run.begin_validation_batch, self._batch)
        self._guarded(self.run.end_validation_batch, self._batch)
        self._batch += 1

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Report the end of an evaluation, and of the epoch if it is that one's."""
        if not self._is_running:
            return
        if not self.run.in_epoch and state.global_step > self._steps_before:
            raise self._too_many_evaluations()
        numbers = _metrics(metrics or {})
        self._evaluation |= numbers
        ours, _ = renamed(numbers, [(name, translated(name)) for name in numbers])
        if not self._in_validation:
            self._catch_up(state)
            self._guarded(self.run.begin_validation)
        self._in_validation = False
        self._guarded(
            self.run.end_validation, {name.removeprefix("val_"): v for name, v in ours.items()}
        )
        if self._awaited:
            self._awaited -= 1
            if not self._awaited:
                self._end_epoch(control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Note that an epoch's training is done; the evaluation comes after this."""
        self._catch_up(state)
        _keep_rate(given["optimizer"], given["lr_scheduler"])
        control.should_log = True
        logs_once_more = state.global_step > self._logged_at
        self._waits_for_evaluation = control.should_evaluate
        self._awaited = self._evaluations if control.should_evaluate else int(logs_once_more)
        if not self._awaited:
            self._end_epoch(control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """End the run."""
        self._end()

    def _too_many_evaluations(self) -> ConfigurationError:
        error = ConfigurationError(
            f"an epoch has more than {self._evaluations} evaluations; with an eval_dataset that "
            "is a dict pass Callbacks([...], evaluations=) with the number of its items"
        )
        self._fail(error)
        return error

    def _catch_up(self, state: TrainerState, but: int = 0) -> None:
        """Count the updates that were not reported one by one, but the latest."""
        uncounted = state.global_step - self._steps_before - self.run.progress.step - but
        if uncounted > 0:
            self._guarded(self.run.count, uncounted)

    def _end_epoch(self, control: TrainerControl) -> None:
        self._awaited = 0
        evaluation, other_names = renamed(
            self._evaluation, [(name, translated(name)) for name in self._evaluation]
        )
        logs = {**self._means.logs().unread, **evaluation}
        if self._guarded(self.run.end_epoch, logs, other_names):
            control.should_training_stop = True


def _metrics(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics among what the Trainer logs, without its speeds and settings."""
    return {
        name: float(value)
        for name, value in logs.items()
        if isinstance(value, int | float)
        and name not in _NOT_METRICS
        and not name.endswith(_SPEEDS)
    }


def _evaluates(args: TrainingArguments) -> bool:
    return bool(getattr(args.eval_strategy, "value", args.eval_strategy) != "no")


def _steps_per_epoch(args: TrainingArguments, loader: Any) -> int | None:
    """Return the updates of an epoch, or None for data without a length."""
    try:
        batches: int = len(loader)
    except TypeError:
        return None
    parts: int = args.gradient_accumulation_steps
    return -(-batches // parts)


def _keep_rate(optimizer: Any, schedule: Any) -> None:
    """Let a schedule go on from the rate that a callback has set, which it would undo."""
    rates = [group["lr"] for group in optimizer.param_groups]
    if not hasattr(schedule, "base_lrs"):
        return
    scheduled = schedule.get_last_lr()
    if rates != scheduled:
        schedule.base_lrs = [
            base * now / before if before else now
            for base, now, before in zip(schedule.base_lrs, rates, scheduled, strict=True)
        ]
        schedule._last_lr = rates  # noqa: SLF001 - what get_last_lr returns
