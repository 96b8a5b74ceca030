"""Modules of flax.linen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from callboard._core.errors import RunStateError
from callboard.jax.networks.network import Options, called, copied

__all__ = ["LinenNetwork"]


class LinenNetwork:
    """A module of flax.linen.

    Args:
        module: The module.
        variables: What ``module.init`` returned, or its "params"; None to make them.
    """

    def __init__(self, module: Any, variables: Any = None) -> None:
        self.source = module
        if isinstance(variables, Mapping) and "params" not in variables:
            variables = {"params": variables}
        self._variables = variables
        self._options = Options(type(module).__call__)

    @property
    def is_built(self) -> bool:
        """Whether there are arrays."""
        return self._variables is not None

    def build(self, x: Any, key: jax.Array) -> None:
        """Make the variables, if they are not there."""
        if self._variables is None:
            rngs = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
            options = self._options.mode(training=False)
            self._variables = called(self.source.init, x, rngs, **options)

    def arrays(self) -> tuple[Any, Any]:
        """Return copies of the parameters, and of the other collections."""
        if self._variables is None:
            raise RunStateError(
                f"{type(self.source).__name__} has no parameters before it has seen inputs; call "
                "model.build(x) first, with a batch of them"
            )
        variables = copied(dict(self._variables))
        params = variables.pop("params", {})
        variables.pop("intermediates", None)
        return params, variables

    def apply(
        self, params: Any, rest: Any, x: Any, key: jax.Array, *, training: bool
    ) -> tuple[Any, Any]:
        """Call the module; what it changes of its other collections in training is kept."""
        options = self._options(key, training=training)
        rngs = {"params": key, "dropout": key} if training else None
        variables = {"params": params, **rest}
        if not (training and rest):
            return called(self.source.apply, x, variables, rngs=rngs, **options), rest
        return called(  # type: ignore[no-any-return] # outputs and collections
            self.source.apply, x, variables, rngs=rngs, mutable=list(rest), **options
        )

    def put_back(self, params: Any, rest: Any) -> Any:
        """Return the variables."""
        return {"params": params, **rest}

    def recorded(self, params: Any, rest: Any, x: Any) -> Mapping[str, jax.Array]:
        """Return what each submodule gives out."""
        options = self._options.mode(training=False)
        _, found = called(
            self.source.apply,
            x,
            {"params": params, **rest},
            capture_intermediates=True,
            mutable=["intermediates"],
            **options,
        )
        outputs: dict[str, jax.Array] = {}
        _collect(found["intermediates"], (), outputs)
        return outputs


def _collect(tree: Mapping[str, Any], path: tuple[str, ...], outputs: dict[str, Any]) -> None:
    """Collect what the innermost modules of linen gave out."""
    below = {name: node for name, node in tree.items() if isinstance(node, Mapping)}
    for name, node in below.items():
        _collect(node, (*path, name), outputs)
    if not below and "__call__" in tree:
        arrays = [a for a in jax.tree.leaves(tree["__call__"]) if isinstance(a, jax.Array)]
        outputs.update({".".join(path) or "output": array for array in arrays[:1]})
