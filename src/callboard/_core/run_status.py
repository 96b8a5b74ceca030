"""What a run is doing, and what callbacks may ask of it and do to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callboard._core.callback import Callback
from callboard._core.dispatch import CallbackList
from callboard._core.errors import RunStateError
from callboard._core.journal import Decision, Journal
from callboard._core.logs import Logs
from callboard._core.messages import Messages
from callboard._core.monitor import Mode
from callboard._core.passes import Purpose
from callboard._core.progress import Progress
from callboard._core.run_arguments import directions, verbosity, whole
from callboard._core.trainable import Trainable

__all__ = ["RunStatus"]


class RunStatus:
    """The callbacks' side of a :class:`Run`: where it stands, its decisions, its end by request.

    Args:
        trainable: What callbacks may do to what is trained.
        has_state: Whether that is a state which the loop replaces.
        callbacks: All callbacks.
        epochs: Epochs in all.
        initial_epoch: Epoch to begin with.
        steps: Batches in an epoch, if known.
        verbose: 0, 1, 2 or "auto".
        metrics: Names that will be logged, with their directions; None if not known.
        validation: Whether there will be a validation; None if not known.
        purpose: What the run is for.

    Raises:
        ConfigurationError: For numbers that cannot be.
    """

    def __init__(
        self,
        trainable: Trainable,
        callbacks: CallbackList,
        *,
        has_state: bool,
        epochs: int,
        initial_epoch: int,
        steps: int | None,
        verbose: int | str,
        metrics: Mapping[str, Mode | None] | None,
        validation: bool | None,
        purpose: Purpose,
    ) -> None:
        self.trainable = trainable
        self.model = trainable.model
        self.callbacks = callbacks
        self.epoch_count = whole(epochs, "epochs")
        self.initial_epoch = whole(initial_epoch, "initial_epoch")
        self.steps = None if steps is None else whole(steps, "steps_per_epoch")
        self.validation_steps: int | None = None
        self.verbose = verbosity(verbose)
        self.metrics = directions(metrics)
        self.validation = validation
        self.purpose = purpose
        self.journal = Journal()
        self.progress = Progress(epoch=self.initial_epoch)
        self.next_epoch = self.initial_epoch
        self.logs = Logs()
        self.stop_reason = ""
        self.paused = False
        self.validated = False
        self.in_epoch = False
        self.batches = 0
        self.samples: dict[Purpose, Any] = {}
        self.messages = Messages(silent=bool(trainable.rank))
        self._has_state = has_state
        self._ended = False

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self._ended

    @property
    def is_done(self) -> bool:
        """Whether all its epochs are done."""
        return self.next_epoch >= self.epoch_count and not self.in_epoch

    @property
    def saves(self) -> bool:
        """Whether a callback saves when the run is interrupted."""
        return self.purpose == "train" and not self.callbacks.idle("on_interrupt")

    def stop(self, reason: str) -> None:
        """Ask for an end after the current batch or epoch; the first reason is kept."""
        self.stop_reason = self.stop_reason or reason
        self.model.stop_training = True

    @property
    def stopping(self) -> bool:
        """Whether an end was asked for: by ``stop``, or as in Keras by ``model.stop_training``."""
        if self.model.stop_training and not self.stop_reason:
            self.stop_reason = "a callback set model.stop_training"
        return bool(self.stop_reason)

    @property
    def params(self) -> dict[str, Any]:
        """What callbacks have as ``self.params``."""
        return {"verbose": self.verbose, "epochs": self.epoch_count, "steps": self.steps}

    @property
    def state(self) -> Any:
        """What ``Run(state=...)`` trains, as the latest step left it; a step's result goes here."""
        if not self._has_state:
            raise RunStateError("this run was given no state; pass Run(state=...)")
        return self.trainable.state  # type: ignore[attr-defined] # a state's trainable has it

    @state.setter
    def state(self, state: Any) -> None:
        if not self._has_state:
            raise RunStateError("this run was given no state; pass Run(state=...)")
        self.trainable.state = state  # type: ignore[attr-defined] # a state's trainable has it

    @property
    def learning_rate(self) -> float:
        """Learning rate of the optimizer; setting it keeps the ratio between parameter groups."""
        return self.trainable.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.trainable.learning_rate = value

    @property
    def rate_controller(self) -> str:
        """What changes the learning rate besides the callbacks, or an empty string."""
        return self.trainable.rate_controller

    @property
    def metric_names(self) -> frozenset[str] | None:
        """All names the epoch logs will have, ``val_*`` included; None where that is not known."""
        if self.metrics is None or self.validation is None:
            return None
        names = set(self.metrics)
        if self.validation:
            names |= {f"val_{name}" for name in self.metrics}
        if self.rate_is_controlled:
            names.add("learning_rate")
        for callback in self.callbacks:
            adds = getattr(callback, "adds", None)
            if adds is None and not CallbackList([callback]).idle("on_epoch_end"):
                return None
            names.update(adds or ())
        return frozenset(names)

    def decide(self, callback: Callback, action: str, cause: str, *, say: str = "") -> None:
        """Record a callback's decision in the journal, and print ``say`` if there is something."""
        self.journal.record(
            Decision(
                type(callback).__name__, action, self.progress.epoch, self.progress.step, cause
            )
        )
        if say:
            self.print(say)

    def print(self, text: str) -> None:
        """Print a line, at the end of an epoch below its line of progress."""
        self.messages.add(text)

    @property
    def rate_is_controlled(self) -> bool:
        """Whether a callback controls the learning rate."""
        return any(getattr(callback, "rate_control", "") for callback in self.callbacks)
