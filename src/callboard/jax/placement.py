"""Where batches and the training state lie on the devices."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from callboard._core.batches import Batch
from callboard._core.checks import ConfigurationWarning
from callboard._core.errors import ConfigurationError, UnsupportedError
from callboard._core.nested import leaves

__all__ = ["Placement"]

_ALONE = (
    "and Model has the data of one; write the loop yourself with Run(state=...), or take the "
    "devices of jax.local_devices()"
)


class Placement:
    """Puts batches and state on the devices: one device, or many that share each batch.

    Many devices hold a part of each batch, and the whole state, or of arrays that were sharded over
    these devices before, their shards. The steps are compiled for all of them together, with XLA
    finding out what is sent between them, whatever the type of the mesh's axes.

    Args:
        data_sharding: How the first axis of a batch lies on the devices; None for one device.

    Raises:
        ConfigurationError: If it is no such sharding.
        UnsupportedError: If some of its devices are those of other processes.
    """

    def __init__(self, data_sharding: Any = None) -> None:
        self.parts = 1
        self._whole: NamedSharding | None = None
        if data_sharding is None:
            return
        _check(data_sharding)
        mesh, (axes,) = _propagating(data_sharding.mesh), data_sharding.spec
        names = axes if isinstance(axes, tuple) else (axes,)
        self.parts = math.prod(mesh.shape[name] for name in names)
        self._whole = NamedSharding(mesh, _spec())
        self._in_parts = NamedSharding(mesh, _spec(axes))
        self._steps_in_parts = NamedSharding(mesh, _spec(None, axes))

    @property
    def is_here(self) -> bool:
        """Whether arrays of NumPy are where they are used."""
        return self._whole is None and jax.default_backend() == "cpu"

    def check_size(self, batch_size: int) -> None:
        """Check that batches of arrays can be shared.

        Raises:
            ConfigurationError: If not.
        """
        if batch_size % self.parts:
            above = math.ceil(batch_size / self.parts) * self.parts
            raise ConfigurationError(
                f"batch_size={batch_size} cannot be shared evenly by {self.parts} shards of "
                f"data_sharding; pass a multiple of {self.parts}, such as {above}"
            )

    def placing(self) -> Callable[..., Batch]:
        """Return what puts the batches of a pass over data on the devices, one after the other.

        A batch that cannot be shared evenly, such as a short one at the end, lies whole on each
        device: so it counts as it would on one. Of others than the last one it warns.

        Returns:
            A function of a batch, and of ``stacked``: whether the steps are an axis in front.
        """
        uneven = 0

        def placed(batch: Batch, *, stacked: bool = False) -> Batch:
            nonlocal uneven
            if self._whole is None:
                return batch if self.is_here else jax.device_put(batch)
            if uneven:
                self._warn(uneven)
            samples = next(leaves(batch.x)).shape[1 if stacked else 0]
            uneven = samples if samples % self.parts else 0
            sharding = self._steps_in_parts if stacked else self._in_parts
            shared: Batch = jax.device_put(batch, self._whole if uneven else sharding)
            return shared

        return placed

    def state(self, tree: Any) -> Any:
        """Return arrays of a state as they lie on the devices.

        Raises:
            ConfigurationError: If some are sharded over other devices.
            UnsupportedError: If some lie on devices of other processes.
        """
        for leaf in jax.tree.leaves(tree):
            if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
                raise UnsupportedError(
                    f"an array of shape {leaf.shape} lies on devices of other processes, {_ALONE}"
                )
        if self._whole is None:
            return tree
        return jax.device_put(tree, jax.tree.map(self._of_leaf, tree))

    def results(self, state: Any) -> dict[str, Any]:
        """Return how ``jax.jit`` is told that a step leaves the state where it lies."""
        if self._whole is None:
            return {}
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        return {"out_shardings": (shardings, self._whole, self._whole)}

    def _warn(self, samples: int) -> None:
        warnings.warn(
            f"a batch of {samples} samples cannot be shared evenly by {self.parts} shards of "
            "data_sharding, so each device computes all of it; let the data yield batches of a "
            f"multiple of {self.parts} samples",
            ConfigurationWarning,
            stacklevel=3,
        )

    def _of_leaf(self, leaf: Any) -> Any:
        whole = self._whole
        sharding = getattr(leaf, "sharding", None)
        if whole is None or sharding is None or len(sharding.device_set) == 1:
            return whole
        if sharding.device_set != whole.device_set or not isinstance(sharding, NamedSharding):
            raise ConfigurationError(
                f"an array of shape {leaf.shape} lies on {len(sharding.device_set)} devices by "
                f"{sharding}, and data_sharding names {len(whole.device_set)}; make both of one "
                "mesh"
            )
        return NamedSharding(_propagating(sharding.mesh), sharding.spec)


def _check(sharding: Any) -> None:
    if not isinstance(sharding, NamedSharding):
        raise ConfigurationError(
            f"data_sharding must be a jax.sharding.NamedSharding such as NamedSharding(mesh, "
            f'PartitionSpec("data")); got {sharding!r}'
        )
    if len(sharding.spec) != 1 or sharding.spec[0] is None:
        raise ConfigurationError(
            f"data_sharding must shard the first axis of a batch, its samples, and no other, as in "
            f'PartitionSpec("data"); got {sharding.spec}'
        )
    if not sharding.is_fully_addressable:
        raise UnsupportedError(f"data_sharding names devices of other processes, {_ALONE}")


def _spec(*axes: Any) -> PartitionSpec:
    return PartitionSpec(*axes)  # type: ignore[no-untyped-call] # JAX's own


def _propagating(mesh: Any) -> Mesh:
    """Return a mesh over which XLA propagates shardings: explicit ones each operation must bear."""
    return Mesh(mesh.devices, mesh.axis_names)
