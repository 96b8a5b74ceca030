"""Moving averages of the weights of a model on JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from callboard._core.errors import DataError, UnsupportedError
from callboard.jax.leaves import leaves_of, with_values

if TYPE_CHECKING:
    from callboard.jax.learner import Learner

__all__ = ["WeightAverages"]


class WeightAverages:
    """Exponential moving averages that follow the optimizer's count of its updates.

    So a rejected update is none, accumulated gradients are one, and several steps in one execution
    are as many, with the momentum's power. After the first update the averages are the weights.
    Those of weights in half precision are kept in float32, as small changes would be lost.

    Args:
        learner: What ``compile`` was called on.
        momentum: Share of the averages that an update leaves.

    Raises:
        UnsupportedError: If the optimizer does not count.
    """

    def __init__(self, learner: Learner, momentum: float) -> None:
        self._learner = learner
        self._momentum = momentum
        self._own: Any = None
        self._taken_in = jax.jit(self._with_weights)
        state = learner.state
        if not _counts(state.opt_state):
            raise UnsupportedError(
                "SwapEMAWeights goes by the optimizer's count of its updates, and this one keeps "
                "none; make it by optax.inject_hyperparams(optax.sgd)(learning_rate=0.01)"
            )
        # Copies, as the arrays of the state are given away to the next step.
        self._averages = jax.tree.map(lambda w: jnp.array(w, _wide(w), copy=True), state.params)
        updates = jnp.max(jnp.stack(_counts(state.opt_state)))
        self._counted = {"updates": updates, "begun": jnp.zeros_like(updates)}
        learner.trainable.active_averages = self

    @property
    def in_model(self) -> bool:
        """Whether the averages are in the model."""
        return self._own is not None

    def update(self) -> None:
        """Take in the weights after the updates that were made since the last time."""
        if not self.in_model:
            state = self._learner.state
            self._averages, self._counted = self._taken_in(
                self._averages, self._counted, state.params, _counts(state.opt_state)
            )

    def put(self) -> None:
        """Have the averages in the model, and keep its own weights."""
        if self.in_model:
            return
        state = self._learner.state
        self._own = state.params
        averages = jax.tree.map(
            lambda w, a: jnp.array(a, w.dtype, copy=True), state.params, self._averages
        )
        self._learner.state = state._replace(params=averages)

    def take(self) -> None:
        """Put the model's own weights back."""
        if self.in_model:
            self._learner.state = self._learner.state._replace(params=self._own)
            self._own = None

    def leave(self) -> None:
        """Leave the averages in the model for good."""
        self.put()
        self._own = None

    def close(self) -> None:
        """Follow the optimizer no longer."""
        self._learner.trainable.active_averages = None

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, and the model's own weights while these are in it."""
        return {
            "own": _named(self._own) if self.in_model else {},
            "averages": _named(self._averages),
            "counted": dict(self._counted),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If they are the averages of another model.
        """
        averages = _fitting(self._averages, state["averages"])
        params = self._learner.state.params
        self._own = _fitting(params, state["own"]) if state["own"] else None
        self._averages = averages
        self._counted = with_values(self._counted, state["counted"])

    def _with_weights(
        self, averages: Any, counted: Mapping[str, jax.Array], params: Any, counts: list[jax.Array]
    ) -> tuple[Any, dict[str, jax.Array]]:
        updates = jnp.max(jnp.stack(counts))
        new = jnp.maximum(updates - counted["updates"], 0)
        begun = jnp.maximum(counted["begun"], jnp.minimum(new, 1))
        share = jnp.where(counted["begun"] > 0, 1 - self._momentum**new, begun)
        mixed = jax.tree.map(
            lambda a, w: (1 - share) * a + share * w.astype(a.dtype), averages, params
        )
        return mixed, {"updates": updates, "begun": begun}


def _counts(opt_state: Any) -> list[jax.Array]:
    """Return the optimizer's counts of its updates; the largest one is theirs."""
    names = ("count", "step", "gradient_step")
    return [leaf.value for leaf in leaves_of(opt_state) if leaf.path and leaf.path[-1] in names]


def _wide(weight: jax.Array) -> Any:
    return jnp.promote_types(weight.dtype, jnp.float32)


def _named(tree: Any) -> dict[str, Any]:
    return {leaf.name: leaf.value for leaf in leaves_of(tree)}


def _fitting(tree: Any, saved: Mapping[str, Any]) -> Any:
    """Return a tree with the saved values, placed on the devices as those that it has."""
    if _named(tree).keys() != saved.keys():
        raise DataError("the saved averages are of the weights of another model")
    return with_values(tree, saved)
