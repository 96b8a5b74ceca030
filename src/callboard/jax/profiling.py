"""Where the time of some batches goes, by JAX's profiler."""

from __future__ import annotations

import jax

from callboard._core.xplane import XPlaneTrace

__all__ = ["profiler"]


def profiler() -> XPlaneTrace:
    """Return ``jax.profiler``."""
    return XPlaneTrace(jax.profiler.start_trace, jax.profiler.stop_trace, _finish)


def _finish() -> None:
    """Wait for all that was dispatched: the devices are behind the program."""
    arrays: list[jax.Array] = jax.live_arrays()  # type: ignore[no-untyped-call] # untyped in JAX
    jax.block_until_ready(arrays)  # type: ignore[no-untyped-call] # as above
