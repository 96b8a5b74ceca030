"""What can be seen of a JAX model."""

from __future__ import annotations

from callboard._core.inspection import PlainInspection
from callboard.jax.networks.equinox import EquinoxNetwork

__all__ = ["JaxInspection"]


class JaxInspection(PlainInspection):
    """:class:`callboard._core.inspection.Inspection` for JAX: the weights of any pytree."""

    @property
    def outputs_first(self) -> bool:
        """Whether convolutions have the outputs on the first axis: equinox's do, flax's do not."""
        network = getattr(self._trainable.model, "network", None)
        return isinstance(network, EquinoxNetwork)
