"""JAX: Keras's ``compile`` and ``fit`` for its models, with losses and metrics by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from callboard._core.errors import ConfigurationError
from callboard.jax import losses as losses
from callboard.jax import metrics as metrics
from callboard.jax.environment import environment as environment
from callboard.jax.model import Model as Model
from callboard.jax.optimizers import Optimizer as Optimizer
from callboard.jax.profiling import profiler as profiler
from callboard.jax.state import revived as revived
from callboard.jax.state import source_of as source_of
from callboard.jax.trainable import JaxTrainable
from callboard.jax.view import StateView

__all__ = ["Model", "Optimizer", "losses", "metrics", "state_trainable", "trainable"]


def trainable(model: object, optimizer: object = None) -> JaxTrainable | None:
    """Return what callbacks may do to a model; None if it is none of JAX.

    Called by ``Run(model=..., optimizer=...)``.

    Raises:
        ConfigurationError: For a module that is not changed in place: its state is the run's.
    """
    if isinstance(model, Model):
        return model.trainable
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(model, nnx.Module):
        return StateView(model if optimizer is None else (model, optimizer)).trainable
    linen, equinox = sys.modules.get("flax.linen"), sys.modules.get("equinox")
    libraries = [library for library in (linen, equinox) if library is not None]
    if isinstance(model, tuple(library.Module for library in libraries)):
        raise ConfigurationError(
            f"a {type(model).__name__} is not changed by training; pass what is: "
            "Run(state=(params, opt_state)), and in the loop run.state = step(run.state, batch)"
        )
    return None


def state_trainable(state: Any) -> JaxTrainable:
    """Return what callbacks may do to a state of JAX. Called by ``Run(state=...)``."""
    return StateView(state).trainable


def stream_of(data: object) -> None:
    """Return None: JAX has no loaders of its own."""


def join_host(callback: object, model: object) -> None:
    """Do nothing: JAX has no loop of its own."""


def check_foreign(callback: object, model: object, metrics: Mapping[str, Any] | None) -> None:
    """Do nothing: JAX has no callbacks of its own."""


def random_states() -> dict[str, Any]:
    """Return nothing: JAX's random keys are values, in the state that is trained."""
    return {}


def restore_random_states(states: Mapping[str, Any]) -> None:
    """There is nothing to restore."""
