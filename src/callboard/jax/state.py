"""Arrays of JAX in what a run saves."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from callboard.jax.arrays import array_dtype, is_key, to_array, to_jax

__all__ = ["JaxSource", "revived", "source_of"]


class JaxSource:
    """An array of JAX as something to copy to the host.

    Args:
        value: The array, on any devices; random keys are copied as the integers they are made of.
    """

    kind = "jax"
    memory = None  # jitted functions refuse a state that has one array twice: nothing is tied

    def __init__(self, value: jax.Array) -> None:
        self._value = jax.random.key_data(value) if is_key(value) else value
        self.dtype = array_dtype(self._value.dtype)
        self.shape = tuple(self._value.shape)

    def copy_to(self, target: np.ndarray[Any, Any]) -> None:
        """Copy the values to an array."""
        np.copyto(target, to_array(self._value))


def source_of(value: object) -> JaxSource | None:
    """Return how to copy an array of JAX to the host; None for anything else."""
    return JaxSource(value) if isinstance(value, jax.Array) else None


def revived(array: np.ndarray[Any, Any]) -> jax.Array:
    """Return an array of JAX with the values of an array."""
    return to_jax(array)
