"""JSON from files that may be damaged or hostile."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from callboard._core.errors import FileFormatError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "loads"]

MAX_BYTES = 256 * 2**20
MAX_DEPTH = 100

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


def loads(data: bytes, what: str) -> Any:
    """Read JSON within limits: no duplicate keys, no NaN, not too large and not too deep.

    Args:
        data: The text, UTF-8.
        what: What it is, for the errors.

    Raises:
        FileFormatError: If it is anything else.

    Example:
        >>> loads(b'{"step": 3}', "a manifest")
        {'step': 3}
    """
    if len(data) > MAX_BYTES:
        raise FileFormatError(f"{what} has {len(data)} bytes; more than {MAX_BYTES} are refused")
    try:
        text = data.decode()
        if _depth(text) > MAX_DEPTH:
            raise FileFormatError(f"{what} is nested deeper than {MAX_DEPTH} levels")
        return _DECODER.decode(text)
    except ValueError as error:  # FileFormatError, UnicodeDecodeError and JSONDecodeError are some
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{what} is not whole: {error}") from error


def _depth(text: str) -> int:
    """Return how deep the brackets outside of quotes are nested, or an upper bound in range."""
    most = text.count("{") + text.count("[")
    if most <= MAX_DEPTH:
        return most
    depth = deepest = 0
    for bracket in re.findall(r"[][{}]", _QUOTED.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_refused)
