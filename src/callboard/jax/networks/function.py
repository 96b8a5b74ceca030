"""A function of parameters and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from callboard._core.errors import UnsupportedError
from callboard.jax.networks.network import Options, called, copied

__all__ = ["FunctionNetwork"]


class FunctionNetwork:
    """A function ``apply_fn(params, x)``; it may take ``key`` and ``training`` too.

    Args:
        function: The function.
        params: Its parameters, a pytree of arrays.
    """

    is_built = True

    def __init__(self, function: Callable[..., Any], params: Any) -> None:
        self.source = function
        self._params = params
        self._options = Options(function)

    def build(self, x: Any, key: jax.Array) -> None:
        """The arrays are there."""

    def arrays(self) -> tuple[Any, Any]:
        """Return copies of the parameters."""
        return copied(self._params), {}

    def apply(
        self, params: Any, rest: Any, x: Any, key: jax.Array, *, training: bool
    ) -> tuple[Any, Any]:
        """Call the function."""
        return called(self.source, x, params, **self._options(key, training=training)), rest

    def put_back(self, params: Any, rest: Any) -> Any:  # noqa: ARG002 - there is nothing else
        """Return the parameters."""
        return params

    def recorded(self, *_arrays: Any) -> Mapping[str, jax.Array]:
        """Say that a function has no layers.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "a function has no layers whose activations could be shown; pass activations=False, "
            "or train a module"
        )
