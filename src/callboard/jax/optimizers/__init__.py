"""Optimizers of optax by Keras's names and with Keras's defaults, and ``model.optimizer``."""

from callboard.jax.optimizers.optimizer import Optimizer
from callboard.jax.optimizers.resolve import composed, name_of, resolve_optimizer

__all__ = ["Optimizer", "composed", "name_of", "resolve_optimizer"]
