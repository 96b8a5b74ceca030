"""A weight as a picture."""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

__all__ = ["WeightImage", "weight_image"]

Array = np.ndarray[Any, Any]


class WeightImage(NamedTuple):
    """A gray picture, encoded.

    Attributes:
        png: The content of a PNG file.
        width: Pixels per row.
        height: Rows.
    """

    png: bytes
    width: int
    height: int


def weight_image(weight: Array) -> WeightImage | None:
    """Return a weight as a picture in which one pixel is one number.

    Middle gray is 0; white and almost black are the largest magnitude; black are NaN and the lines
    between kernels. A vector is a row, a matrix lies on its longer side. Weights of more axes are
    taken for convolutions, in PyTorch's order: first the outputs, at the end the two axes of a
    kernel. They make a table of kernels: outputs by inputs, the longer side across.

    Args:
        weight: Real numbers of any shape; axes of length 1 do not count where two others or fewer
            are left.

    Returns:
        The picture, or None for a weight of less than two numbers.

    Example:
        >>> weight_image(np.zeros((32, 3, 5, 5)))[1:]  # 32 kernels across, 3 down
        (191, 17)

    Source: the shapes of Keras 3.15 ``TensorBoard(write_images=True)``, except that it leaves out
        most convolutions and shows nothing of what is negative.
    """
    if weight.size < 2:
        return None
    squeezed = np.squeeze(weight)
    if squeezed.ndim <= 2:
        plane = np.atleast_2d(squeezed)
        plane = plane.T if plane.shape[0] > plane.shape[1] else plane
    else:
        plane = _table(weight.reshape(len(weight), -1, *weight.shape[-2:]))
    height, width = plane.shape
    return WeightImage(_png(_gray(plane)), width, height)


def _table(kernels: Array) -> Array:
    """Lay out kernels, shape (outputs, inputs, height, width), with lines of NaN between them."""
    if kernels.shape[0] > kernels.shape[1]:
        kernels = kernels.swapaxes(0, 1)
    framed = np.pad(kernels, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    rows, columns, height, width = framed.shape
    plane = framed.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    return plane[:-1, :-1]


def _gray(values: Array) -> Array:
    """Return values as gray levels (uint8): 128 for 0, 1 and 255 for the largest magnitude."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0)
    levels = np.rint(np.clip(values / (largest or 1), -1, 1) * 127 + 128)
    return np.nan_to_num(levels, nan=0).astype(np.uint8)


def _png(pixels: Array) -> bytes:
    """Return the content of a PNG file with gray pixels, uint8 of shape (height, width)."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, gray
    rows = np.pad(pixels, ((0, 0), (1, 0)))  # each row begins with its filter: none
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
