"""Applying gradients to weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import optimizer as torch_optimizer

from callboard.torch.optimizers import Optimizer
from callboard.torch.settings import Settings

__all__ = ["Update"]


class Update:
    """Clips the gradients and steps the optimizer.

    The gradients stay until the next batch, for those who want to look at them.

    ``torch.optim`` wraps every ``step`` for its profiler and its hooks, which takes a tenth of the
    time of a small model's training step. Where nobody listens, the step itself is called.

    Args:
        optimizer: The optimizer.
        settings: How to clip.
    """

    def __init__(self, optimizer: Optimizer, settings: Settings) -> None:
        self._optimizer = optimizer
        self._parameters = optimizer.parameters()
        self._clip = settings.clipped if settings.clips else None
        self._bare = _bare_step(optimizer.wrapped)

    def __call__(self) -> None:
        """Make one update with the gradients that the parameters have."""
        if self._clip is not None:
            with torch.no_grad():
                having = [(p, p.grad) for p in self._parameters if p.grad is not None]
                clipped = self._clip([gradient for _, gradient in having])
                for (parameter, _), gradient in zip(having, clipped, strict=True):
                    parameter.grad = gradient
        wrapped = self._optimizer.wrapped
        if self._bare is None or _is_listened_to(wrapped):
            wrapped.step()
        else:
            with torch.no_grad():
                self._bare(wrapped)
        self._optimizer.iterations += 1

    def drop_gradients(self) -> None:
        """Leave no gradient for the next batch to add to."""
        for parameter in self._parameters:
            parameter.grad = None


def _bare_step(optimizer: torch.optim.Optimizer) -> Callable[[Any], object] | None:
    """Return the step without wrappers, of optimizers whose wrappers are known."""
    kind = type(optimizer)
    if not kind.__module__.startswith("torch.optim.") or optimizer.defaults.get("differentiable"):
        return None
    step: Callable[[Any], object] = inspect.unwrap(kind.step)
    return step


def _is_listened_to(optimizer: torch.optim.Optimizer) -> bool:
    """Say whether a hook waits for the step, or a scheduler or scaler has put its own in place."""
    return bool(
        optimizer._optimizer_step_pre_hooks  # noqa: SLF001 - torch has no other way to ask
        or optimizer._optimizer_step_post_hooks  # noqa: SLF001 - the same
        or torch_optimizer._global_optimizer_pre_hooks  # noqa: SLF001 - the same
        or torch_optimizer._global_optimizer_post_hooks  # noqa: SLF001 - the same
        or "step" in vars(optimizer)
    )
