"""State with arrays, in a checkpoint of the host that is JSON."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

__all__ = ["decoded", "encoded"]

_ARRAY = "array of"


def encoded(state: Any) -> Any:
    """Return nested state as JSON has it: arrays as text, tuples as lists, keys as texts.

    Example:
        >>> decoded(encoded({"wait": 1, "weights": {"w": np.ones(2, np.float32)}}))
        {'wait': 1, 'weights': {'w': array([1., 1.], dtype=float32)}}
    """
    if isinstance(state, dict):
        return {str(key): encoded(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [encoded(value) for value in state]
    if isinstance(state, bytes):
        state = np.frombuffer(state, np.uint8)
    if isinstance(state, np.ndarray | np.generic):
        array = np.asarray(state)
        data = base64.b85encode(array.tobytes()).decode()
        return {
            _ARRAY: array.dtype.descr if array.dtype.names else array.dtype.str,
            "shape": list(array.shape),
            "data": data,
        }
    return state


def decoded(state: Any) -> Any:
    """Return what ``encoded`` was given."""
    if isinstance(state, list):
        return [decoded(value) for value in state]
    if not isinstance(state, dict):
        return state
    if state.keys() == {_ARRAY, "shape", "data"}:
        kind = state[_ARRAY]
        dtype = np.dtype([(name, code) for name, code in kind] if isinstance(kind, list) else kind)
        values = np.frombuffer(base64.b85decode(state["data"]), dtype)
        return values.reshape(state["shape"]).copy()
    return {key: decoded(value) for key, value in state.items()}
