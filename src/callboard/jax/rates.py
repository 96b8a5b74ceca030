"""The learning rates in the state of an optimizer of optax."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

from callboard._core.errors import UnsupportedError
from callboard.jax.leaves import Leaf

__all__ = ["can_be_set", "number_in", "rates_of", "scaled"]

# What the path of a learning rate in the state of optax.inject_hyperparams ends in.
_RATE = ("hyperparams", "learning_rate")


def rates_of(leaves: list[Leaf]) -> list[Leaf]:
    """Return the learning rates, those that schedules set only if there are no others.

    Raises:
        UnsupportedError: If there are none.
    """
    rates = [leaf for leaf in leaves if leaf.role == "optimizer" and leaf.path[-2:] == _RATE]
    if not rates:
        raise UnsupportedError(
            "this needs the learning rate, and there is none in the optimizer's state that can be "
            "read or set; make the optimizer by "
            "optax.inject_hyperparams(optax.adam)(learning_rate=0.001)"
        )
    scheduled = _scheduled(leaves)
    return [leaf for leaf in rates if leaf.path not in scheduled] or rates


def can_be_set(leaves: list[Leaf]) -> bool:
    """Say whether no schedule in the optimizer would set the learning rate back."""
    scheduled = _scheduled(leaves)
    return not scheduled or any(leaf.path not in scheduled for leaf in rates_of(leaves))


def number_in(leaf: Leaf) -> float:
    """Return a number that may be of a type that NumPy lacks, such as bfloat16."""
    return float(np.asarray(leaf.value).astype(np.float64))


def scaled(rates: list[Leaf], rate: float) -> dict[str, Any]:
    """Return new learning rates by name: the first one as given, the others in their ratio to it.

    Raises:
        UnsupportedError: If there is no ratio, as the first one is 0.
    """
    first = number_in(rates[0])
    if len(rates) > 1 and not first:
        raise UnsupportedError(
            "the first of several learning rates is 0, so the others have no ratio to it; set them "
            "in run.state"
        )
    return {
        leaf.name: _like(leaf.value, rate if not i else rate * number_in(leaf) / first)
        for i, leaf in enumerate(rates)
    }


def _scheduled(leaves: list[Leaf]) -> set[tuple[str, ...]]:
    """Return the paths of the learning rates that a schedule sets: those that have a state."""
    paths = set()
    for leaf in leaves:
        for i, pair in enumerate(itertools.pairwise(leaf.path)):
            if pair == ("hyperparams_states", "learning_rate"):
                paths.add((*leaf.path[:i], *_RATE))
    return paths


def _like(old: Any, value: float) -> Any:
    """Return a number as an array that a jitted function takes for the old one."""
    if getattr(old, "weak_type", False):
        return jnp.asarray(value) + jnp.zeros_like(old) if old.ndim else jnp.asarray(value)
    return jnp.full(np.shape(old), value, getattr(old, "dtype", np.float32))
