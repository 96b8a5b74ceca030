"""What is trained and how, in names and numbers."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from callboard._core.names import snake_case
from callboard.jax.activations import module_in
from callboard.jax.arrays import to_array
from callboard.jax.leaves import leaves_of

__all__ = ["description_of"]

_RATE = "learning_rate"
_BEARERS = ("EmptyState", "InjectHyperparamsState", "InjectStatefulHyperparamsState")


def description_of(trained: Any) -> dict[str, Any]:
    """Return the model's type, the optimizer with its settings, loss and metrics.

    An optimizer that was not given by name is called by optax's transformations that have a state,
    such as "scale_by_adam".

    Args:
        trained: The learner of a model, or the view of a state whose loop the user wrote.
    """
    state = trained.state
    found: dict[str, Any] = {}
    module = getattr(getattr(trained, "network", None), "source", None) or module_in(state)
    if module is not None:
        found["model"] = getattr(module, "__name__", type(module).__name__)
    named = getattr(getattr(trained, "optimizer", None), "name", "")
    optimizer = named or ", ".join(_transformations(state))
    if optimizer:
        found["optimizer"] = optimizer
    settings = _settings(state)
    if settings:
        found[optimizer or "optimizer settings"] = settings
    objectives = getattr(trained, "objectives", None)
    return found if objectives is None else found | objectives.description()


def _transformations(state: Any) -> list[str]:
    """Return the names of optax's states in a state, from the outermost to the innermost."""
    found: list[str] = []

    def look(node: Any) -> bool:
        kind = type(node)
        of_optax = isinstance(node, tuple) and kind.__module__.partition(".")[0] == "optax"
        if of_optax and kind.__name__ not in _BEARERS:
            found.append(snake_case(kind.__name__.removesuffix("State")))
        return False

    jax.tree.flatten(state, is_leaf=look)
    return list(dict.fromkeys(found))


def _settings(state: Any) -> dict[str, float]:
    """Return the hyperparameters in the optimizer's state that do something, without the rate."""
    found: dict[str, float] = {}
    for leaf in leaves_of(state):
        name = leaf.path[-1]
        if leaf.path[-2:-1] == ("hyperparams",) and name != _RATE and np.ndim(leaf.value) == 0:
            value = float(f"{float(to_array(leaf.value)):.6g}")  # float32 has no more digits
            if value:
                found[name] = value
    return found
