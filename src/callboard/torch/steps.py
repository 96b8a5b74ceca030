"""One step of training, as ``compile`` said or as the user wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from callboard._core.logs import Logs, Means
from callboard._core.samples import sample_count
from callboard.torch.data import Batch
from callboard.torch.forward import ForwardPass
from callboard.torch.scores import Scores
from callboard.torch.update import Update

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["OwnStep", "Step", "TrainStep"]


class Step(Protocol):
    """Trains on some batches at a time and sums up their metrics."""

    def begin_epoch(self) -> None:
        """Begin the metrics anew."""

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches, one after the other; return their samples."""

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""


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
        self.forward = ForwardPass(model.module, model.forward, objectives)
        self.scores = Scores(objectives)
        self._settings = model.settings
        self._update = Update(model.require_optimizer(), model.settings)
        self._update.drop_gradients()
        self._accumulated = 0
        self._autocast = model.settings.mixed_precision is not None

    def begin_epoch(self) -> None:
        """Begin the metrics anew, with the module in training mode."""
        self._model.module.train()
        self.scores.reset()

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""
        return self.scores.logs()

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches; return their samples."""
        return sum(self._train(batch) for batch in batches)

    def _train(self, batch: Batch) -> int:
        if self._autocast:
            with self._settings.autocast(self._model.device):
                outcome = self.forward(batch)
        else:
            outcome = self.forward(batch)
        samples = self.scores.add(batch, outcome)
        guard = self._model.trainable.active_guard
        if guard is not None and not guard.admits(outcome.loss):
            self._update.drop_gradients()
            return samples
        parts = self._settings.gradient_accumulation_steps
        torch.autograd.backward(outcome.loss if parts == 1 else outcome.loss / parts)
        self._accumulated += 1
        if self._accumulated >= parts:
            self._accumulated = 0
            self._update()
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
