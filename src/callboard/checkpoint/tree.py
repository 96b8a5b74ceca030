"""Nested state as JSON and arrays."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from callboard.checkpoint import strict_json

__all__ = ["Leaf", "Source", "join", "part_of_path", "split"]

_ARRAY = "$array"
_KIND = "$kind"
_FLOAT = "$float"
_TUPLE = "$tuple"
_BYTES = "$bytes"
_ITEMS = "$items"
_MARKS = frozenset({_ARRAY, _KIND, _FLOAT, _TUPLE, _BYTES, _ITEMS})
_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", "\0": "%00"})
_SCALAR = "scalar"


class Source(Protocol):
    """An array of a framework, which may lie on a device.

    Attributes:
        kind: Name of the framework.
        dtype: The type its elements have in NumPy.
        shape: Its shape.
        memory: Equal for two that are the same memory, and for no others.
    """

    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    memory: object

    def copy_to(self, target: np.ndarray[Any, Any]) -> None:
        """Copy the elements to an array of this dtype and shape on the host."""


Leaf = np.ndarray[Any, Any] | Source


def split(
    tree: Any, source_of: Callable[[object], Source | None] = lambda _: None
) -> tuple[str, dict[str, Leaf]]:
    """Take the arrays out of nested dicts and lists; the rest becomes strict JSON.

    Args:
        tree: Dicts, lists, tuples, numbers, texts, bytes, None, NumPy arrays and scalars, and what
            ``source_of`` knows. All come back by ``join`` as they were.
        source_of: Returns the source of a framework's array, None for anything else.

    Returns:
        The JSON text, and the arrays by their path in the tree. In a path, keys are joined by
        ``/``; what would break it is written as in URLs.

    Raises:
        TypeError: For anything else, and for keys of a dict that read the same (1 and "1").

    Example:
        >>> import numpy as np
        >>> text, arrays = split({"step": 3, "moments": [np.zeros(2)]})
        >>> text, list(arrays)
        ('{"step":3,"moments":[{"$array":"moments/0"}]}', ['moments/0'])
    """
    splitting = _Splitting(source_of)
    text = json.dumps(splitting.plain(tree, ""), separators=(",", ":"), allow_nan=False)
    return text, splitting.arrays


class _Splitting:
    """The arrays found so far, and how each part of the rest is written."""

    def __init__(self, source_of: Callable[[object], Source | None]) -> None:
        self.arrays: dict[str, Leaf] = {}
        self._source_of = source_of

    def plain(self, node: Any, path: str, depth: int = 0) -> Any:
        """Return a part of the tree as JSON values, for so many levels below its top."""
        if node is None or isinstance(node, str | bool | int):
            return node
        if isinstance(node, np.ndarray | np.generic):
            return self._of_array(node, path)
        if isinstance(node, float):  # JSON has no NaN
            return float(node) if math.isfinite(node) else {_FLOAT: str(node)}
        if isinstance(node, Mapping | list | tuple):
            if depth > strict_json.MAX_DEPTH - 4:  # of what would not be read
                raise TypeError(f"the state is nested too deep, at {path[:80]}...")
            return self._of_container(node, path, depth)
        return self._of_other(node, path)

    def _of_container(self, node: Any, path: str, depth: int) -> Any:
        if isinstance(node, Mapping):
            return self._of_mapping(node, path, depth)
        below = depth + (1 if isinstance(node, list) else 2)
        values = [self.plain(value, _below(path, str(i)), below) for i, value in enumerate(node)]
        return values if isinstance(node, list) else {_TUPLE: values}

    def _of_array(self, node: np.ndarray[Any, Any] | np.generic, path: str) -> dict[str, str]:
        self.arrays[path] = np.asarray(node)
        return {_ARRAY: path} if isinstance(node, np.ndarray) else {_ARRAY: path, _KIND: _SCALAR}

    def _of_mapping(self, node: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        texts = [str(key) for key in node]
        if len(set(texts)) < len(texts):
            raise TypeError(f"{path or 'the state'} has keys that read the same: {list(node)!r}")
        plain = all(type(key) is str for key in node) and not _MARKS.intersection(texts)
        below = depth + (1 if plain else 3)
        values = [self.plain(node[key], _below(path, str(key)), below) for key in node]
        if plain:
            return dict(zip(texts, values, strict=True))
        keys = [self.plain(key, "a key") for key in node]
        return {_ITEMS: [list(pair) for pair in zip(keys, values, strict=True)]}

    def _of_other(self, node: Any, path: str) -> dict[str, str]:
        if isinstance(node, bytes | bytearray):
            return {_BYTES: base64.b64encode(node).decode()}
        source = self._source_of(node)
        if source is None:
            raise TypeError(
                f"{path or 'the state'} is a {type(node).__name__}, which cannot be saved; allowed "
                "are numbers, texts, bytes, None, arrays, and dicts, lists and tuples of them"
            )
        self.arrays[path] = source
        return {_ARRAY: path, _KIND: source.kind}


def part_of_path(key: str) -> str:
    """Return a key as it stands in paths: not empty, without slash, neither "." nor ".."."""
    part = key.translate(_ESCAPES)
    return part if part.strip(".") else f"%{part}"


def _below(path: str, key: str) -> str:
    part = part_of_path(key)
    return f"{path}/{part}" if path else part


def join(
    text: str | bytes,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    revived: Callable[[str, np.ndarray[Any, Any]], Any] = lambda _, array: array,
    what: str = "the saved state",
) -> Any:
    """Put back together what ``split`` took apart.

    Args:
        text: The JSON text.
        arrays: The arrays by their paths.
        revived: Returns a framework's array, given the kind of its source and a NumPy array.
        what: What is read, for the errors.

    Raises:
        FileFormatError: If the text is not what ``split`` gave.
        KeyError: If an array is missing.
    """

    def restored(node: Any) -> Any:
        if isinstance(node, list):
            return [restored(value) for value in node]
        if not isinstance(node, dict):
            return node
        if _MARKS.isdisjoint(node):
            return {key: restored(value) for key, value in node.items()}
        if _ITEMS in node:
            return {restored(key): restored(value) for key, value in node[_ITEMS]}
        if _TUPLE in node:
            return tuple(restored(value) for value in node[_TUPLE])
        return _restored_leaf(node, arrays, revived)

    data = text.encode() if isinstance(text, str) else text
    return restored(strict_json.loads(data, what))


def _restored_leaf(
    node: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray[Any, Any]],
    revived: Callable[[str, np.ndarray[Any, Any]], Any],
) -> Any:
    if _FLOAT in node:
        return float(node[_FLOAT])
    if _BYTES in node:
        return base64.b64decode(node[_BYTES], validate=True)
    array, kind = arrays[node[_ARRAY]], node.get(_KIND)
    if kind == _SCALAR:
        return array[()]
    return array if kind is None else revived(kind, array)
