"""What can be seen of a JAX model."""

from __future__ import annotations

from typing import Any

from callboard._core.inspection import PlainInspection
from callboard.jax.description import description_of
from callboard.jax.networks.equinox import EquinoxNetwork

__all__ = ["JaxInspection"]


class JaxInspection(PlainInspection):
    """:class:`callboard._core.inspection.Inspection` for JAX: the weights of any pytree."""

    @property
    def outputs_first(self) -> bool:
        """Whether convolutions have the outputs on the first axis: equinox's do, flax's do not."""
        network = getattr(self._trainable.model, "network", None)
        return isinstance(network, EquinoxNetwork)

    def description(self) -> dict[str, Any]:
        """Return type and size of the model, the optimizer with its settings, loss and metrics."""
        return {**super().description(), **description_of(self._trainable.model)}
