"""What callbacks see as ``model`` around a loop of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from callboard._core.errors import ConfigurationError, DataError, UnsupportedError
from callboard.jax.activations import module_in, recorded_activations
from callboard.jax.data import arrays_of
from callboard.jax.leaves import leaves_of
from callboard.jax.optimizers.optimizer import Optimizer
from callboard.jax.trainable import JaxTrainable

if TYPE_CHECKING:
    from callboard.jax.averages import WeightAverages

__all__ = ["StateView"]


class StateView:
    """A state that a loop of the user's own trains, with what Keras's callbacks ask a model for.

    Args:
        state: Any pytree with arrays; modules and optimizers of nnx in it are changed in place.

    Attributes:
        state: The state; the loop puts what a step returns here, by ``run.state = ...``.
        stop_training: Set it to True, from a callback, to end training after the current batch.
        optimizer: The learning rate and the number of updates.
        trainable: What callbacks may do to the state.

    Raises:
        ConfigurationError: If there is no array in the state.
    """

    steps_by_itself = False

    def __init__(self, state: Any) -> None:
        if not leaves_of(state):
            raise ConfigurationError(
                f"Run(state=...) got a {type(state).__name__} with no array in it; pass all that "
                "your step changes, such as (params, opt_state, key) or a TrainState"
            )
        self.state = state
        self.stop_training = False
        self.trainable = JaxTrainable(self, self)
        self.optimizer = Optimizer(self.trainable)

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Return copies of all weights: the floating-point arrays that are not the optimizer's."""
        return list(self.trainable.weights().values())

    def set_weights(self, weights: Sequence[np.ndarray[Any, Any]]) -> None:
        """Put weights into the state, in the order of ``get_weights()``.

        Raises:
            DataError: If their number, shapes or types differ; then nothing is changed.
        """
        names = list(self.trainable.weights())
        if len(names) != len(weights):
            raise DataError(f"the state has {len(names)} weights; got {len(weights)}")
        self.trainable.set_weights(dict(zip(names, weights, strict=True)))

    def inputs_of(self, batch: Any) -> Any:
        """Return what of a batch goes into the module: the first part or value."""
        if isinstance(batch, Mapping):
            batch = tuple(batch.values())
        return arrays_of(batch[0] if isinstance(batch, tuple | list) else batch)

    def activations(self, batch: Any) -> Mapping[str, jax.Array]:
        """Return what each layer of the module in the state gives out for a batch.

        Raises:
            UnsupportedError: If there is no module in it that can be called.
        """
        module = module_in(self.state)
        if module is None:
            raise UnsupportedError(
                "the state holds arrays and no module that could be run on a batch; pass "
                "activations=False, or have a module of nnx or equinox in run.state"
            )
        return recorded_activations(module, self.inputs_of(batch))

    def averages(self, momentum: float) -> WeightAverages:  # noqa: ARG002 - the protocol's
        """Say that averages are to be kept in the state.

        Raises:
            UnsupportedError: Always: the user's step updates the weights.
        """
        raise UnsupportedError(
            "in a loop of your own on JAX averages of the weights belong to the state that is "
            "trained: update them in your step by optax.incremental_update and validate with "
            "them, or train by callboard.jax.Model"
        )

    def gradients(self) -> Mapping[str, jax.Array]:
        """Say that gradients are not there.

        Raises:
            UnsupportedError: Always: they are inside of the user's jitted step.
        """
        raise UnsupportedError(
            "in a loop of your own on JAX the gradients are inside of your jitted step; pass "
            "gradients=False, or train by callboard.jax.Model"
        )
