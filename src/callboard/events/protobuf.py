"""The wire format of protobuf, as far as event files need it.

Keys are a field's number << 3 | its wire type (0 varint, 1 eight bytes, 2 length, 5 four bytes).

Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import struct

import numpy as np

from callboard._core.errors import DataError

__all__ = ["described", "double", "encoded", "field", "optional", "varint"]

_BYTES = [bytes((n,)) for n in range(128)]
_DOUBLE = struct.Struct("<d")


def field(key: bytes, content: bytes) -> bytes:
    """Return a field whose content has a length: a text, bytes, a message."""
    return key + varint(len(content)) + content


def optional(key: bytes, content: bytes) -> bytes:
    """Return a field as :func:`field` does; an empty one is left out, as the default value."""
    return field(key, content) if content else b""


def double(number: float) -> bytes:
    """Return a number of eight bytes."""
    return _DOUBLE.pack(number)


def varint(number: int) -> bytes:
    """Return a number from 0 as protobuf does: seven bits a byte, the lowest first.

    Example:
        >>> varint(300).hex()
        'ac02'
    """
    if number < 128:
        return _BYTES[number]
    # Two and three bytes cover nearly every length and step; the loop costs twice as much.
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    if number < 1 << 21:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    content.append(number)
    return bytes(content)


def encoded(text: str, what: str) -> bytes:
    """Return a text as UTF-8.

    Raises:
        DataError: If it is no text, or not valid Unicode.
    """
    if not isinstance(text, str):
        raise DataError(f"{what} is a string, got {described(text)}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} is not valid Unicode: {text!r}") from None


def described(value: object) -> str:
    """Return what a value is, short enough for an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 60 else shown[:57] + '...'}"
