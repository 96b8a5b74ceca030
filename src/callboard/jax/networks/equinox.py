"""Modules of equinox."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import jax

from callboard.jax.activations import recorded
from callboard.jax.networks.network import Options, copied

__all__ = ["EquinoxNetwork"]


class EquinoxNetwork:
    """A module of equinox, which is called sample by sample; floating-point arrays are trained.

    Args:
        module: The module.
    """

    is_built = True

    def __init__(self, module: Any) -> None:
        self.source = module
        equinox = sys.modules["equinox"]
        self._combine = equinox.combine
        params, self._trained = equinox.partition(module, equinox.is_inexact_array)
        evaluated = equinox.nn.inference_mode(module)
        self._evaluated = equinox.partition(evaluated, equinox.is_inexact_array)[1]
        self._params = params
        found = jax.tree_util.tree_flatten_with_path(params)
        self._paths = [
            tuple(jax.tree_util.keystr((k,), simple=True) for k in p) for p, _ in found[0]
        ]
        self._structure = found[1]
        self._options = Options(type(module).__call__)

    def build(self, x: Any, key: jax.Array) -> None:
        """The arrays are there."""

    def arrays(self) -> tuple[Any, Any]:
        """Return copies of the parameters as nested dicts, which are faster to pass on."""
        nested: dict[str, Any] = {}
        for path, leaf in zip(self._paths, jax.tree.leaves(self._params), strict=True):
            node = nested
            for name in path[:-1]:
                node = node.setdefault(name, {})
            node[path[-1]] = leaf
        return copied(nested), {}

    def apply(
        self, params: Any, rest: Any, x: Any, key: jax.Array, *, training: bool
    ) -> tuple[Any, Any]:
        """Call the module for every sample."""
        module = self._with(params, training=training)
        inputs = x if isinstance(x, tuple | list) else (x,)
        if self._options.key is None or not training:
            return jax.vmap(module)(*inputs), rest
        name = self._options.key
        keys = jax.random.split(key, jax.tree.leaves(inputs)[0].shape[0])
        return jax.vmap(lambda k, *one: module(*one, **{name: k}))(keys, *inputs), rest

    def put_back(self, params: Any, rest: Any) -> Any:  # noqa: ARG002 - there is nothing else
        """Return a module with the arrays in it, otherwise as the one that was given."""
        return self._with(params, training=True)

    def recorded(self, params: Any, rest: Any, x: Any) -> Mapping[str, jax.Array]:  # noqa: ARG002 - as above
        """Return what each innermost module gives out."""
        module = self._with(params, training=False)
        inputs = x if isinstance(x, tuple | list) else (x,)
        outputs: Mapping[str, jax.Array] = jax.vmap(
            lambda *one: recorded(module, lambda: module(*one))
        )(*inputs)
        return outputs

    def _with(self, params: Any, *, training: bool) -> Any:
        leaves = []
        for path in self._paths:
            node = params
            for name in path:
                node = node[name]
            leaves.append(node)
        trained = jax.tree.unflatten(self._structure, leaves)
        return self._combine(trained, self._trained if training else self._evaluated)
