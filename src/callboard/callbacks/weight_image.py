"""A weight as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from callboard.events.png import Png, encode_png, table

__all__ = ["weight_image"]

Array = np.ndarray[Any, Any]


def weight_image(weight: Array, *, outputs_first: bool = True) -> Png | None:
    """Return a weight as a picture in which one pixel is one number.

    Middle gray is 0; white and almost black are the largest magnitude; black are NaN and the lines
    between kernels. A vector is a row, a matrix lies on its longer side. Weights of more axes are
    taken for convolutions. They make a table of kernels: outputs by inputs, the longer side across.

    Args:
        weight: Real numbers of any shape; axes of length 1 do not count where two others or fewer
            are left.
        outputs_first: Whether convolutions have their axes in PyTorch's order: outputs, inputs,
            kernel. Otherwise in that of Keras and JAX: kernel, inputs, outputs.

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
        if not outputs_first:
            weight = np.moveaxis(weight, (-1, -2), (0, 1))
        plane = _table(weight.reshape(len(weight), -1, *weight.shape[-2:]))
    return encode_png(_gray(plane))


def _table(kernels: Array) -> Array:
    """Lay out kernels, shape (outputs, inputs, height, width), with lines of NaN between them."""
    if kernels.shape[0] > kernels.shape[1]:
        kernels = kernels.swapaxes(0, 1)
    return table(kernels, line=np.nan)


def _gray(values: Array) -> Array:
    """Return values as gray levels (uint8): 128 for 0, 1 and 255 for the largest magnitude."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=0)
    levels = np.rint(np.clip(values / (largest or 1), -1, 1) * 127 + 128)
    return np.nan_to_num(levels, nan=0).astype(np.uint8)
