"""A model as pure functions of its arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

__all__ = ["Network", "Options", "called", "copied"]

# Arguments by which modules are told whether they are being trained, and what that is.
_TRAINING = {"train": True, "training": True, "is_training": True}
_INFERENCE = {"deterministic": False, "inference": False, "use_running_average": False}
_KEYS = ("key", "rng")


class Network(Protocol):
    """A model whose arrays are values.

    Attributes:
        source: What the user gave.
    """

    source: Any

    @property
    def is_built(self) -> bool:
        """Whether there are arrays; a module of linen has none before it has seen inputs."""

    def build(self, x: Any, key: jax.Array) -> None:
        """Make the arrays, if they are not there, for inputs like these."""

    def arrays(self) -> tuple[Any, Any]:
        """Return copies of the parameters, which are trained, and of all other arrays."""

    def apply(
        self, params: Any, rest: Any, x: Any, key: jax.Array, *, training: bool
    ) -> tuple[Any, Any]:
        """Return the outputs for a batch, and the other arrays as they are afterwards."""

    def put_back(self, params: Any, rest: Any) -> Any:
        """Return the module with these arrays in it; one of nnx is changed in place."""

    def recorded(self, params: Any, rest: Any, x: Any) -> Mapping[str, jax.Array]:
        """Return what each layer gives out for a batch, in evaluation mode.

        Raises:
            UnsupportedError: If it has no layers.
        """


class Options:
    """The arguments that a function takes besides its inputs: the mode, a random key.

    Args:
        function: The function, or the method of a class.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        names = inspect.signature(function).parameters
        self._modes = {n: v for n, v in (_TRAINING | _INFERENCE).items() if n in names}
        self.key = next((name for name in _KEYS if name in names), None)

    def mode(self, *, training: bool) -> dict[str, Any]:
        """Return the arguments that tell the mode."""
        return {name: value is training for name, value in self._modes.items()}

    def __call__(self, key: jax.Array, *, training: bool) -> dict[str, Any]:
        """Return all of them."""
        keys = {} if self.key is None else {self.key: key if training else None}
        return {**self.mode(training=training), **keys}


def copied(tree: Any) -> Any:
    """Return a tree with arrays of its own: a step gives its state away to the next one."""
    return jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), tree)


def called(function: Callable[..., Any], x: Any, *first: Any, **options: Any) -> Any:
    """Call with inputs: a tuple or list of them is several arguments."""
    inputs = x if isinstance(x, tuple | list) else (x,)
    return function(*first, *inputs, **options)
