"""PyTorch: Keras's ``compile`` and ``fit`` for a torch module, with losses and metrics by name."""

from __future__ import annotations

import torch

from callboard._core.errors import ConfigurationError
from callboard.torch import losses as losses
from callboard.torch import metrics as metrics
from callboard.torch.loaders import stream_of as stream_of
from callboard.torch.model import Model as Model
from callboard.torch.optimizers import Optimizer as Optimizer
from callboard.torch.profiling import profiler as profiler
from callboard.torch.state import environment as environment
from callboard.torch.state import random_states as random_states
from callboard.torch.state import restore_random_states as restore_random_states
from callboard.torch.state import revived as revived
from callboard.torch.state import source_of as source_of
from callboard.torch.trainable import TorchTrainable

__all__ = ["Model", "Optimizer", "losses", "metrics", "trainable"]


def check_foreign(callback: object, model: object, metrics: object) -> None:
    """PyTorch has no callbacks of its own."""


def join_host(callback: object, model: object) -> None:
    """Do nothing: torch has no loop with callbacks of its own."""


def trainable(model: object, optimizer: object = None) -> TorchTrainable | None:
    """Return what callbacks may do to a torch module and its optimizer; None for other objects.

    Called by ``Run(model=..., optimizer=...)``.
    """
    if isinstance(model, torch.nn.Module):
        model = Model(model)
    if not isinstance(model, Model):
        return None
    if isinstance(optimizer, torch.optim.Optimizer):
        # Accelerate wraps an optimizer in another one, whose hooks are never called.
        inner = getattr(optimizer, "optimizer", None)
        optimizer = Optimizer(inner if isinstance(inner, torch.optim.Optimizer) else optimizer)
    if isinstance(optimizer, Optimizer):
        model.optimizer = optimizer
    elif optimizer is not None:
        raise ConfigurationError(
            f"optimizer must be a torch.optim.Optimizer; got {type(optimizer).__name__}"
        )
    return model.trainable


def state_trainable(state: object) -> None:
    """Return None: modules of PyTorch hold their own state."""
