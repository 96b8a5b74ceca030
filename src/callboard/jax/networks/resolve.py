"""From what ``Model`` is given to a network."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from callboard._core.errors import ConfigurationError
from callboard.jax.networks.equinox import EquinoxNetwork
from callboard.jax.networks.function import FunctionNetwork
from callboard.jax.networks.linen import LinenNetwork
from callboard.jax.networks.network import Network
from callboard.jax.networks.nnx import NnxNetwork

__all__ = ["network_of"]


def network_of(model: Any, params: Any = None) -> Network:
    """Return the network of a module of flax (linen or nnx), of equinox, or of a function.

    Raises:
        ConfigurationError: For anything else, and for parameters that are missing or too many.
    """
    linen, nnx, equinox = (sys.modules.get(name) for name in ("flax.linen", "flax.nnx", "equinox"))
    if inspect.isclass(model):
        raise ConfigurationError(f"Model takes an object; call {model.__name__} to make one")
    if linen is not None and isinstance(model, linen.Module):
        return LinenNetwork(model, params)
    holds_its_own = (nnx is not None and isinstance(model, nnx.Module)) or (
        equinox is not None and isinstance(model, equinox.Module)
    )
    if holds_its_own and params is not None:
        raise ConfigurationError(
            f"a {type(model).__name__} holds its parameters itself; pass Model(module)"
        )
    if nnx is not None and isinstance(model, nnx.Module):
        return NnxNetwork(model)
    if equinox is not None and isinstance(model, equinox.Module):
        return EquinoxNetwork(model)
    if callable(model) and params is not None:
        return FunctionNetwork(model, params)
    raise ConfigurationError(
        "Model takes a module of flax nnx, flax linen or equinox, or a function and its "
        f"parameters: Model(apply_fn, params); got {model!r}"
        + ("" if params is not None or not callable(model) else " without parameters")
    )
