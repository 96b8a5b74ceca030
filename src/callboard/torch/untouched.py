"""Running a module to look at it, and leaving no trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from callboard._core.randomness import random_states, restore_random_states
from callboard.torch.modes import evaluating

__all__ = ["untouched"]


@contextlib.contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Have a module in evaluation mode, without gradients; afterwards all is as it was.

    Modes, buffers and all global random states come back.
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    states = random_states()
    try:
        with evaluating(module), torch.no_grad():
            yield
    finally:
        restore_random_states(states)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
