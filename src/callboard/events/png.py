"""Pictures as PNG files, encoded with the standard library."""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from callboard._core.errors import DataError

__all__ = ["Png", "encode_png", "png_size", "table"]

Array = npt.NDArray[Any]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: gray, with alpha, RGB, with alpha


class Png(NamedTuple):
    """A picture, encoded.

    Attributes:
        content: The content of a PNG file.
        width: Pixels per row.
        height: Rows.
    """

    content: bytes
    width: int
    height: int


def encode_png(pixels: Array) -> Png:
    """Return pixels as a PNG file.

    Args:
        pixels: uint8, shape (height, width) or (height, width, channels); 1 channel is gray, 2 are
            gray and alpha, 3 red, green and blue, 4 those and alpha.

    Example:
        >>> encode_png(np.zeros((2, 3, 3), np.uint8))[1:]
        (3, 2)

    Source: the PNG specification, https://www.w3.org/TR/png
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    # Each row begins with its filter: none.
    rows = np.pad(pixels.reshape(height, width * channels), ((0, 0), (1, 0)))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    content = _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)
    return Png(content, width, height)


def png_size(content: bytes) -> tuple[int, int]:
    """Return width and height of a PNG file.

    Raises:
        DataError: If it is none.
    """
    if not content.startswith(_SIGNATURE) or len(content) < 24:
        raise DataError("an image given as bytes must be the content of a PNG file")
    width, height = struct.unpack_from(">II", content, 16)
    return width, height


def table(cells: Array, *, line: float) -> Array:
    """Lay out cells of one size in rows and columns, with lines of one pixel between them.

    Args:
        cells: Shape (rows, columns, height, width), or with channels behind.
        line: Value of the lines' pixels.

    Returns:
        One plane, shape (height, width), or with channels behind.
    """
    margins = ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0))[: cells.ndim]
    framed = np.pad(cells, margins, constant_values=line)
    rows, columns, height, width, *channels = framed.shape
    plane = framed.swapaxes(1, 2).reshape(rows * height, columns * width, *channels)
    return plane[:-1, :-1]


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
