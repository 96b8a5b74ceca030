"""Training or evaluation mode for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

__all__ = ["evaluating", "in_mode"]


@contextlib.contextmanager
def in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Have a module and all its layers in one mode; afterwards each in the mode it was in."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for layer, before in modes:
            layer.training = before


def evaluating(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Have a module and all its layers in evaluation mode; afterwards each as it was."""
    return in_mode(module, training=False)
