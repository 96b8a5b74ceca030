"""Arrays of JAX as NumPy arrays, and back."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from callboard._core.errors import DataError, RunStateError, UnsupportedError
from callboard.checkpoint.dtypes import stand_in

__all__ = ["array_dtype", "is_array", "is_key", "like", "to_array", "to_jax"]

# dtypes that NumPy lacks: the structured stand-in that files and callbacks know.
_STAND_INS = {
    "bfloat16": stand_in("bfloat16", "<u2"),
    "float8_e4m3fn": stand_in("float8_e4m3fn", "u1"),
    "float8_e5m2": stand_in("float8_e5m2", "u1"),
}
_JAX_DTYPES = {stood: jnp.dtype(name) for name, stood in _STAND_INS.items()}


def is_array(value: object) -> bool:
    """Say whether a leaf of a pytree is an array or a number, and not a function or a text."""
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return True
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def is_key(value: object) -> bool:
    """Say whether a value is an array of random keys, as ``jax.random.key`` makes them."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def array_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the type that the elements of an array have in NumPy."""
    plain: np.dtype[Any] = np.dtype(dtype)
    return _STAND_INS.get(plain.name, plain)


def to_array(value: Any) -> np.ndarray[Any, Any]:
    """Return an array's values on the host, without a copy where they lie there already.

    Random keys are returned as the integers they are made of.

    Raises:
        RunStateError: If the array was given away to a jitted function (donated).
        UnsupportedError: If parts of it lie on devices of other processes.
    """
    if isinstance(value, jax.Array):
        _check_readable(value)
        if is_key(value):
            value = jax.random.key_data(value)
    array = np.asarray(value)
    stood = _STAND_INS.get(array.dtype.name)
    if stood is None:
        return array
    bits = np.ascontiguousarray(array).view(f"<u{array.dtype.itemsize}")
    return bits.view(stood).reshape(array.shape)


def _check_readable(value: jax.Array) -> None:
    if value.is_deleted():
        raise RunStateError(
            "the state was donated to a jitted function and is gone; give the run what the "
            "function returns: run.state = step(run.state, batch)"
        )
    if not (value.is_fully_addressable or value.is_fully_replicated):
        raise UnsupportedError(
            f"an array of shape {value.shape} lies in part on devices of other processes, so this "
            "process cannot read it; save such states with Orbax"
        )


def to_jax(array: Any) -> jax.Array:
    """Return an array of JAX with the values of a NumPy array or a number."""
    if isinstance(array, jax.Array):
        return array
    array = np.asarray(array)
    if array.dtype in _JAX_DTYPES:
        dtype = _JAX_DTYPES[array.dtype]
        array = array.view(f"<u{dtype.itemsize}").view(dtype)
    # A copy: on the CPU JAX may otherwise use the memory of the array, which may change.
    return jnp.array(array)


def like(old: Any, new: Any) -> Any:
    """Return new values as an array with the type, the keys and the placement of an old one.

    So a jitted function takes it without being compiled anew.

    Raises:
        DataError: If shapes or types differ.
    """
    if not isinstance(old, jax.Array):
        # A number, such as a counter before the first step: what is saved may be an array by now.
        return new if isinstance(new, jax.Array | numbers.Number) else to_jax(new)
    values = to_jax(jax.random.key_data(new) if is_key(new) else new)
    if is_key(old):
        values = jax.random.wrap_key_data(values, impl=jax.random.key_impl(old))
    if values.shape != old.shape:
        raise DataError(f"shape {values.shape} in what is loaded and {old.shape} in the state")
    if values.dtype != old.dtype:
        raise DataError(f"type {values.dtype} in what is loaded and {old.dtype} in the state")
    if old.committed:
        return jax.device_put(values, old.sharding)
    return values
