"""What modules keep in their state dict by ``get_extra_state``, besides weights and buffers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from callboard._core.checks import ConfigurationWarning
from callboard._core.frameworks import source_of
from callboard.checkpoint.tree import split

__all__ = ["extra_states", "is_extra_state", "put_extra_states"]


def is_extra_state(name: str) -> bool:
    """Say whether a name of a state dict is that of an extra state.

    Example:
        >>> is_extra_state("encoder._extra_state"), is_extra_state("encoder.weight")
        (True, False)
    """
    return name.rpartition(".")[2] == "_extra_state"


def extra_states(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extra states of a state dict; a warning names those that cannot be saved."""
    found = {}
    for name, value in state.items():
        if not is_extra_state(name):
            continue
        own = value.detach() if isinstance(value, Tensor) else value
        try:
            split({"state": own}, source_of)
        except TypeError as error:
            warnings.warn(
                f"the module's {name!r} is not saved with the run, so that going on is not exact "
                f"({error}); let get_extra_state return numbers, texts, tensors, and dicts and "
                "lists of them",
                ConfigurationWarning,
                stacklevel=2,
            )
        else:
            found[name] = own
    return found


def put_extra_states(module: nn.Module, states: Mapping[str, Any]) -> None:
    """Give modules back what ``extra_states`` returned."""
    for name, value in states.items():
        module.get_submodule(name.rpartition(".")[0]).set_extra_state(value)
