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


def split(tree: Any) -> tuple[str, dict[str, np.ndarray[Any, Any]]]:
    """Take the arrays out of nested dicts and lists; the rest becomes strict JSON.

    Args:
        tree: Dicts with text keys, lists, tuples (they come back as lists), numbers, texts, None
            and NumPy arrays.

    Returns:
        The JSON text, and the arrays by their path in the tree.

    Raises:
        TypeError: For anything else.

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
            return {
                str(key): plain(value, f"{path}/{key}".lstrip("/")) for key, value in node.items()
            }
        if isinstance(node, list | tuple):
            return [plain(value, f"{path}/{i}".lstrip("/")) for i, value in enumerate(node)]
        return node

    return json.dumps(plain(tree, ""), separators=(",", ":"), allow_nan=False), arrays


def join(text: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    """Put back together what ``split`` took apart."""

    def restored(node: dict[str, Any]) -> Any:
        if node.keys() == {_ARRAY}:
            return arrays[node[_ARRAY]]
        if node.keys() == {_FLOAT}:
            return float(node[_FLOAT])
        return node

    return json.loads(text, object_hook=restored)
