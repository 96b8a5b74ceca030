"""What has to be equal for a run on JAX to go on bit for bit."""

from __future__ import annotations

import os
from typing import Any

import jax

from callboard.jax.trainable import JaxTrainable

__all__ = ["environment"]


def environment() -> dict[str, Any]:
    """Return what has to be equal for a resumed run to be equal bit for bit.

    A program that has imported JAX and trains something else is not asked for its devices: asking
    would start them, and take most of a GPU's memory.
    """
    told: dict[str, Any] = {"version": jax.__version__}
    if not JaxTrainable.in_use:
        return told
    return told | {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "x64": bool(getattr(jax.config, "jax_enable_x64", False)),
        "matmul_precision": str(getattr(jax.config, "jax_default_matmul_precision", None)),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
