"""One step of training, as ``compile`` said or as the user wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from callboard._core.logs import Logs, Means
from callboard._core.samples import sample_count
from callboard.torch.data import Batch
from callboard.torch.forward import ForwardPass
from callboard.torch.scores import Scores

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["Step", "TrainStep", "step_of"]


class Step(Protocol):
    """Trains on some batches at a time and sums up their metrics."""

    def begin_epoch(self) -> None:
        """Begin the metrics anew."""

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches, one after the other; return their samples."""

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""


def step_of(model: Model) -> Step:
    """Return the training step of a model: its own ``train_step``, compiled or eager."""
    if model.has_own_train_step:
        return OwnStep(model)
    return TrainStep(model)


class TrainStep:
    """Forward pass, backward pass and update, one batch after the other.

    Args:
        model: A model that is compiled.

    Raises:
        RunStateError: If it is not.
    """

    def __init__(self, model: Model) -> None:
        objectives = model.require_compiled()
        self._model = model
        self._forward = ForwardPass(model.module, model.forward, objectives)
        self._scores = Scores(objectives)
        self._optimizer = model.require_optimizer()
        self._settings = model.settings
        self._parameters = self._optimizer.parameters()
        self._accumulated = 0
        self._autocast = model.settings.mixed_precision is not None
        self._clips = model.settings.clips
        self._optimizer.zero_grad()

    def begin_epoch(self) -> None:
        """Begin the metrics anew, with the module in training mode."""
        self._model.module.train()
        self._scores.reset()

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""
        return self._scores.logs()

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches; return their samples."""
        return sum(self._train(batch) for batch in batches)

    def _train(self, batch: Batch) -> int:
        if self._autocast:
            with self._settings.autocast(self._model.device):
                outcome = self._forward(batch)
        else:
            outcome = self._forward(batch)
        samples = self._scores.add(batch, outcome)
        guard = self._model.trainable.active_guard
        if guard is not None and not guard.admits(outcome.loss):
            self._optimizer.zero_grad()
            return samples
        parts = self._settings.gradient_accumulation_steps
        (outcome.loss if parts == 1 else outcome.loss / parts).backward()
        self._accumulated += 1
        if self._accumulated >= parts:
            self._accumulated = 0
            if self._clips:
                self._settings.clip(self._parameters)
            self._optimizer.step()
            self._optimizer.zero_grad()
        return samples


class OwnStep:
    """The user's own ``train_step``, whose values are averaged over the epoch.

    Args:
        model: A model whose class overrides ``train_step``.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._means = Means()

    def begin_epoch(self) -> None:
        """Begin the metrics anew, with the module in training mode."""
        self._model.module.train()
        self._means = Means()

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""
        return self._means.logs()

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches; return their samples."""
        total = 0
        for batch in batches:
            samples = sample_count(batch.x)
            self._means.add(self._model.train_step(batch), samples)
            total += samples
        return total
