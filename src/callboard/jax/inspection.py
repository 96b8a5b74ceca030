"""What can be seen of a JAX model."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from callboard._core.errors import UnsupportedError
from callboard._core.graph import Graph
from callboard._core.inspection import PlainInspection
from callboard._core.xplane import XPlaneTrace
from callboard.jax.activations import (
    innermost_layers,
    module_in,
    recorded_activations,
)
from callboard.jax.description import description_of
from callboard.jax.graph import graph_of
from callboard.jax.leaves import leaves_of, weights_of
from callboard.jax.networks.equinox import EquinoxNetwork
from callboard.jax.networks.function import FunctionNetwork
from callboard.jax.profiling import profiler

if TYPE_CHECKING:
    from callboard.jax.trainable import JaxTrainable

__all__ = ["JaxInspection"]


class JaxInspection(PlainInspection):
    """:class:`callboard._core.inspection.Inspection` for JAX: the weights of any pytree.

    Args:
        trainable: What is trained, as callbacks see it.
    """

    def __init__(self, trainable: JaxTrainable) -> None:
        super().__init__(trainable)
        self._trained = trainable.trained

    @property
    def outputs_first(self) -> bool:
        """Whether convolutions have the outputs on the first axis: equinox's do, flax's do not."""
        network = getattr(self._trained, "network", None)
        return isinstance(network, EquinoxNetwork)

    def description(self) -> dict[str, Any]:
        """Return type and size of the model, the optimizer with its settings, loss and metrics."""
        return {**super().description(), **description_of(self._trained)}

    def embeddings(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copy the vectors of layers that are embeddings to the host.

        Those of flax keep them under the name "embedding", by which they are known in a tree of
        arrays too; equinox's are known by their class.
        """
        of_equinox = self._embeddings_of_equinox()
        found = {}
        for name, leaf in weights_of(leaves_of(self._trained.state)).items():
            layer, _, last = name.rpartition(".")
            if np.ndim(leaf.value) == 2 and (last == "embedding" or layer in of_equinox):
                found[layer or name] = np.asarray(leaf.value).astype(np.float32)
        return found

    def _embeddings_of_equinox(self) -> set[str]:
        equinox, trained = sys.modules.get("equinox"), self._trained
        network = getattr(trained, "network", None)
        module = module_in(trained.state) if network is None else network.source
        if equinox is None or not isinstance(module, equinox.Module):
            return set()
        layers = innermost_layers(module).items()
        return {name for name, layer in layers if isinstance(layer, equinox.nn.Embedding)}

    def graph(self, batch: Any) -> Graph:
        """Return the operations of a forward pass, grouped by layers, and its jaxpr.

        Raises:
            UnsupportedError: If what a loop trains are arrays, with no module that can be called.
        """
        trained = self._trained
        state, x = trained.state, trained.inputs_of(batch)
        leaves = leaves_of(state)
        arrays = {leaf.name: leaf.value for leaf in leaves if leaf.role == "rest"}
        arrays |= {name: leaf.value for name, leaf in weights_of(leaves).items()}
        network = getattr(trained, "network", None)
        if network is not None:
            return graph_of(functools.partial(_forward, network, state), x, arrays)
        module = module_in(state)
        if module is None:
            raise UnsupportedError(
                "the state holds arrays and no module that could be run on a batch"
            )
        return graph_of(functools.partial(recorded_activations, module), x, arrays)

    def profiler(self) -> XPlaneTrace:
        """Return ``jax.profiler``."""
        return profiler()


def _forward(network: Any, state: Any, x: Any) -> Any:
    """Return the outputs of a model's layers, or of a function, which has none to watch."""
    if isinstance(network, FunctionNetwork):
        key = jax.random.wrap_key_data(state.key)
        return network.apply(state.params, state.rest, x, key, training=False)
    return network.recorded(state.params, state.rest, x)
