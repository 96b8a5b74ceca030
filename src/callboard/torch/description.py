"""What is trained and how, in names and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from callboard.torch.distributed import unwrapped

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["description_of"]

_PLAIN = (bool, int, float, str)
_NOT_SETTINGS = ("lr", "initial_lr", "foreach", "fused", "capturable")  # the rate changes


def description_of(model: Model) -> dict[str, Any]:
    """Return type and size of a module, the optimizer with its settings, loss and metrics.

    Args:
        model: The model, or the view of a module whose loop the user wrote.
    """
    module = unwrapped(model.module)
    sizes = [0, 0]
    for parameter in module.parameters():
        if not isinstance(parameter, nn.UninitializedParameter):  # of a lazy layer
            sizes[parameter.requires_grad] += parameter.numel()
    found: dict[str, Any] = {"model": type(module).__name__, "parameters": sum(sizes)}
    if sizes[0]:
        found["trained parameters"] = sizes[1]
    if model.optimizer is not None:
        name = type(model.optimizer.wrapped).__name__
        found |= {"optimizer": name, name: _settings(model.optimizer.param_groups[0])}
    if model.objectives is not None:
        found |= model.objectives.description()
    return found


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter group's options that change the result."""
    found: dict[str, Any] = {}
    for name, value in group.items():
        if isinstance(value, _PLAIN) and value and name not in _NOT_SETTINGS:
            found[name] = value
        elif isinstance(value, tuple):
            found[name] = ", ".join(map(str, value))
    return found
