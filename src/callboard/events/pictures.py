"""Images and figures of a user as PNG files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from callboard._core.errors import DataError
from callboard.events.png import Png, encode_png, png_size
from callboard.events.protobuf import described

__all__ = ["figure_png", "image_png"]

Array = npt.NDArray[Any]


def image_png(image: object, dataformats: str | None = None) -> Png:
    """Return an image as a PNG file.

    Args:
        image: The content of a PNG file; or pixels: integers from 0 to 255, or floats from 0 to 1,
            where what lies beyond is cut off and NaN is black.
        dataformats: What the axes are: "HWC", "CHW" or "HW", height, width and channels; None to
            see which one can have the channels.

    Raises:
        DataError: If it is no such image.

    Example:
        >>> image_png(np.zeros((3, 32, 64)))[1:]
        (64, 32)
    """
    if isinstance(image, bytes):
        return Png(image, *png_size(image))
    pixels = np.asarray(image)
    axes = _axes(pixels, dataformats)
    pixels = pixels.transpose([axes.index(axis) for axis in "HWC" if axis in axes])
    return encode_png(_levels(pixels))


def figure_png(figure: Any, *, dpi: float | None) -> Png:
    """Return a figure of matplotlib as a PNG file.

    Raises:
        DataError: If it is no figure.
    """
    if not callable(getattr(figure, "savefig", None)):
        raise DataError(f"a matplotlib figure is expected, got {described(figure)}")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi="figure" if dpi is None else dpi)
    content = file.getvalue()
    return Png(content, *png_size(content))


def _axes(pixels: Array, dataformats: str | None) -> str:
    """Return what the axes are, as a text with a letter for each."""
    shown = described(pixels)
    if not pixels.size or pixels.ndim not in (2, 3):
        raise DataError(f"an image has 2 or 3 axes and some pixels; got {shown}")
    if dataformats is None:
        fits = [a for a in ("HW", "HWC", "CHW") if len(a) == pixels.ndim and _fits(pixels, a)]
        if len(fits) != 1:
            raise DataError(
                f"it is not clear which axis of an image has its 1 to 4 channels: {shown}; "
                "say what they are by dataformats='HWC' or 'CHW'"
            )
        return fits[0]
    if sorted(dataformats) not in (sorted("HWC"), sorted("HW")):
        raise DataError(f"dataformats={dataformats!r} must be 'HWC', 'CHW' or 'HW'")
    if len(dataformats) != pixels.ndim or not _fits(pixels, dataformats):
        raise DataError(f"dataformats={dataformats!r} does not fit an image that is {shown}")
    return dataformats


def _fits(pixels: Array, axes: str) -> bool:
    return "C" not in axes or 1 <= pixels.shape[axes.index("C")] <= 4


def _levels(pixels: Array) -> Array:
    """Return pixels as uint8."""
    if pixels.dtype.kind == "f":
        scaled = np.clip(np.nan_to_num(pixels.astype(np.float32), nan=0.0), 0, 1) * 255
        return np.rint(scaled).astype(np.uint8)
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "iu":
        raise DataError(f"an image has numbers, got {described(pixels)}")
    if pixels.dtype != np.uint8 and (pixels.min() < 0 or pixels.max() > 255):
        raise DataError(
            f"an image of integers has values from 0 to 255, got {pixels.min()} to {pixels.max()}"
        )
    return pixels.astype(np.uint8)
