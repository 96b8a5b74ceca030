"""One step of training, as ``compile`` said or as the user wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from callboard._core.batches import Batch
from callboard._core.errors import ConfigurationError
from callboard._core.logs import Logs, Means
from callboard._core.samples import sample_count
from callboard.torch.distributed import unwrapped
from callboard.torch.forward import ForwardPass
from callboard.torch.scores import Scores
from callboard.torch.state import gradients_of, put_gradients
from callboard.torch.update import Update

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["OwnStep", "Step", "TrainStep"]


class Step(Protocol):
    """Trains on some batches at a time and sums up their metrics."""

    def begin_epoch(self, done: int = 0) -> None:
        """Begin the metrics anew, unless batches of the epoch are ``done`` already."""

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches, one after the other; return their samples."""

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics and gradients of batches that are done, as they are."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""


class TrainStep:
    """Forward pass, backward pass and update, one batch after the other.

    Args:
        model: A model on which ``compile`` was called.
        compiled: Whether to compile the forward pass, and with it the backward pass.

    Raises:
        RunStateError: If it was not.
    """

    def __init__(self, model: Model, *, compiled: bool = False) -> None:
        objectives = model.require_compiled()
        self._model = model
        self.forward = ForwardPass(model, objectives)
        if compiled:
            self.forward.compile()
        self.scores = Scores(objectives)
        self._settings = model.settings
        self._update = Update(model.require_optimizer(), model.settings)
        self._update.drop_gradients()
        self._accumulated = 0
        self._autocast = model.settings.mixed_precision is not None
        self._layers = list(model.module.modules())

    def is_of(self, module: nn.Module) -> bool:
        """Say whether a module still has the layers that this step was made for."""
        return self._layers == list(module.modules())

    def begin_epoch(self, done: int = 0) -> None:
        """Begin the metrics anew, with the module in training mode."""
        self._model.module.train()
        if not done:
            self.scores.reset()

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""
        return self.scores.logs()

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics, and the gradients if they wait for further batches."""
        module = unwrapped(self._model.module)
        return {
            "scores": self.scores.state_dict(),
            "accumulated": self._accumulated,
            "gradients": gradients_of(module) if self._accumulated else {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self.scores.load_state_dict(state["scores"])
        self._accumulated = state["accumulated"]
        put_gradients(unwrapped(self._model.module), state["gradients"])

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches; return their samples."""
        return sum(self._train(batch) for batch in batches)

    def _train(self, batch: Batch) -> int:
        guard = self._model.trainable.active_guard
        if guard is not None:
            guard.buffers.keep()
        if self._autocast:
            with self._settings.autocast(self._model.device):
                outcome = self.forward(batch)
        else:
            outcome = self.forward(batch)
        samples = self.scores.add(batch, outcome)
        if guard is not None and not guard.admits(outcome.loss):
            guard.settle_buffers()
            self._update.drop_gradients()
            return samples
        parts = self._settings.gradient_accumulation_steps
        if not self._accumulated:
            self._update.drop_gradients()
        torch.autograd.backward(outcome.loss if parts == 1 else outcome.loss / parts)
        if guard is not None:
            guard.settle_buffers()
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

    def begin_epoch(self, done: int = 0) -> None:
        """Begin the metrics anew, with the module in training mode."""
        self._model.module.train()
        if not done:
            self._means = Means()

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""
        return self._means.logs()

    def state_dict(self) -> dict[str, Any]:
        """Return the means of what was logged."""
        return self._means.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._means.load_state_dict(state)

    def __call__(self, batches: list[Batch]) -> int:
        """Train on the batches; return their samples."""
        total = 0
        for batch in batches:
            samples = sample_count(batch.x)
            values = self._model.train_step(batch)
            if not isinstance(values, Mapping):
                raise ConfigurationError(
                    "train_step must return what is to be logged, a dict such as {'loss': loss}; "
                    f"got {values!r}"
                )
            self._means.add(values, samples)
            total += samples
        return total
