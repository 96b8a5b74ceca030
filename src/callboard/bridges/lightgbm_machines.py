"""The processes that LightGBM trains one model in, as its settings name them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Machines"]

_MACHINES = ("machines", "workers", "nodes")
_COUNT = ("num_machines", "num_machine")
_PORT = ("local_listen_port", "local_port", "port")
_DEFAULT_PORT = 12400


class Machines(NamedTuple):
    """Which process this one is, among how many; LightGBM tells its callbacks of neither.

    Attributes:
        rank: Number of this process: its place in the list, which is how LightGBM counts.
        size: How many processes there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Machines:
        """Return what the settings of a training say.

        Example:
            >>> Machines.of({"machines": "127.0.0.1:9001,127.0.0.1:9002", "port": 9002})
            Machines(rank=1, size=2)
            >>> Machines.of({"learning_rate": 0.1})
            Machines(rank=0, size=1)
        """
        given = _found(settings, _MACHINES) or ()
        listed = given.split(",") if isinstance(given, str) else list(given)
        size = int(_found(settings, _COUNT) or len(listed))
        port = str(_found(settings, _PORT) or _DEFAULT_PORT)
        if len(listed) < 2 or size < 2:
            return cls()
        for rank, machine in enumerate(listed):
            host, _, own_port = machine.strip().replace(" ", ":").rpartition(":")
            if own_port == port and _is_here(host):
                return cls(rank, size)
        return cls(0, size)  # LightGBM does not find this machine in the list either, and fails


def _found(settings: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((settings[name] for name in names if settings.get(name) is not None), None)


def _is_here(host: str) -> bool:
    """Say whether an address is one of this machine: only then can it be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True
