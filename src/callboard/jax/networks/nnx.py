"""Modules of flax.nnx."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import jax

from callboard.jax.activations import recorded
from callboard.jax.arrays import is_key
from callboard.jax.networks.network import Options, called, copied

__all__ = ["NnxNetwork"]


class NnxNetwork:
    """A module of flax.nnx; its variables of the kind ``Param`` are trained.

    Args:
        module: The module.
    """

    is_built = True

    def __init__(self, module: Any) -> None:
        self.source = module
        self._nnx = sys.modules["flax.nnx"]
        self._options = Options(type(module).__call__)
        trained = self._nnx.merge(*self._nnx.split(module))
        trained.train()
        self._params_like, self._rest_like = self._split(trained)[1:]
        trained.eval()
        self._evaluated = self._split(trained)[0]
        trained.train()
        self._trained = self._split(trained)[0]

    def build(self, x: Any, key: jax.Array) -> None:
        """The arrays are there."""

    def arrays(self) -> tuple[Any, Any]:
        """Return copies of the parameters, and of all other variables."""
        _, params, rest = self._split(self.source)
        return copied(self._nnx.to_pure_dict(params)), copied(self._pure(rest))

    def apply(
        self,
        params: Any,
        rest: Any,
        x: Any,
        key: jax.Array,  # noqa: ARG002 - the keys are in its variables
        *,
        training: bool,
    ) -> tuple[Any, Any]:
        """Call the module; what it changes of its other variables in training is kept."""
        module = self._merged(params, rest, training=training)
        outputs = called(module, x, **self._options.mode(training=training))
        if not training:
            return outputs, rest
        return outputs, self._pure(self._split(module)[2])

    def put_back(self, params: Any, rest: Any) -> Any:
        """Write copies of the arrays into the module, and return it."""
        states = (
            _with(self._nnx, like, pure)
            for like, pure in ((self._params_like, params), (self._rest_like, rest))
        )
        self._nnx.update(self.source, *(copied(state) for state in states))
        return self.source

    def recorded(self, params: Any, rest: Any, x: Any) -> Mapping[str, jax.Array]:
        """Return what each innermost module gives out."""
        module = self._merged(params, rest, training=False)
        options = self._options.mode(training=False)
        return recorded(module, lambda: called(module, x, **options))

    def _split(self, module: Any) -> Any:
        return self._nnx.split(module, self._nnx.Param, ...)

    def _pure(self, rest: Any) -> Any:
        """Return the values of other variables; random keys as the integers they are made of.

        Arrays of keys are objects of Python, which take time in every call of compiled code.
        """
        pure = self._nnx.to_pure_dict(rest)
        return jax.tree.map(lambda a: jax.random.key_data(a) if is_key(a) else a, pure)

    def _merged(self, params: Any, rest: Any, *, training: bool) -> Any:
        return self._nnx.merge(
            self._trained if training else self._evaluated,
            _with(self._nnx, self._params_like, params),
            _with(self._nnx, self._rest_like, rest),
        )


def _with(nnx: Any, like: Any, pure: Any) -> Any:
    """Return a state of nnx like another one, with the values of nested dicts."""
    state = jax.tree.map(lambda leaf: leaf, like)
    pure = jax.tree.map(_keys_like, nnx.to_pure_dict(like), pure)
    nnx.replace_by_pure_dict(state, pure)
    return state


def _keys_like(like: Any, value: Any) -> Any:
    if not is_key(like) or is_key(value):
        return value
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
