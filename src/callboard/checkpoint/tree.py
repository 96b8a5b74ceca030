"""Nested state as JSON and arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["join", "split"]

_ARRAY = "$array"
_FLOAT = "$float"
_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", "\0": "%00"})


def split(tree: Any) -> tuple[str, dict[str, np.ndarray[Any, Any]]]:
    """Take the arrays out of nested dicts and lists; the rest becomes strict JSON.

    Args:
        tree: Dicts with text keys (whole numbers come back as texts), lists, tuples (they come back
            as lists), numbers, texts, None and NumPy arrays.

    Returns:
        The JSON text, and the arrays by their path in the tree. In a path, keys are joined by
        ``/``; what would break it is written as in URLs.

    Raises:
        TypeError: For anything else, and for keys that would not come back: two that read the same,
            ``$array`` and ``$float``.

    Example:
        >>> import numpy as np
        >>> text, arrays = split({"step": 3, "moments": [np.zeros(2)]})
        >>> text, list(arrays)
        ('{"step":3,"moments":[{"$array":"moments/0"}]}', ['moments/0'])
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def plain(node: Any, path: str) -> Any:
        if isinstance(node, np.ndarray):
            arrays[path] = node
            return {_ARRAY: path}
        if isinstance(node, float) and not math.isfinite(node):
            return {_FLOAT: str(node)}  # JSON has no NaN
        if isinstance(node, Mapping):
            keys = _keys(node)
            return {key: plain(node[own], below(path, key)) for key, own in keys.items()}
        if isinstance(node, list | tuple):
            return [plain(value, below(path, str(i))) for i, value in enumerate(node)]
        return node

    def below(path: str, key: str) -> str:
        return f"{path}/{_part(key)}" if path else _part(key)

    return json.dumps(plain(tree, ""), separators=(",", ":"), allow_nan=False), arrays


def _keys(node: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a dict's keys by their text."""
    keys = {str(key): key for key in node}
    if len(keys) < len(node) or any(not isinstance(key, str | int) for key in node):
        raise TypeError(f"the keys of a dict must be texts, no two the same; got {list(node)!r}")
    if keys.keys() & {_ARRAY, _FLOAT}:
        raise TypeError(f"a dict may not have the key {_ARRAY!r} or {_FLOAT!r}")
    return keys


def _part(key: str) -> str:
    """Return a key as one part of a path: not empty, without slash, and neither "." nor ".."."""
    part = key.translate(_ESCAPES)
    return part if part.strip(".") else f"%{part}"


def join(text: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Put back together what ``split`` took apart."""

    def restored(node: dict[str, Any]) -> Any:
        if node.keys() == {_ARRAY}:
            return arrays[node[_ARRAY]]
        if node.keys() == {_FLOAT}:
            return float(node[_FLOAT])
        return node

    return json.loads(text, object_hook=restored)
