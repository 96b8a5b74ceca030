"""Models of all libraries as pure functions of their arrays."""

from callboard.jax.networks.network import Network, copied
from callboard.jax.networks.resolve import network_of

__all__ = ["Network", "copied", "network_of"]
