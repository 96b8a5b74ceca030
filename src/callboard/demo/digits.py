"""Handwritten digits to train on: a part of MNIST that comes with the package, or all of it."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from callboard._core.errors import DataError, FileFormatError

__all__ = ["Digits", "load_digits"]

_PACKAGED = Path(__file__).with_name("mnist.npz")

Array = np.ndarray[Any, Any]


class Digits(NamedTuple):
    """Images of digits with what they show, to train on and to validate on.

    Attributes:
        x_train: Images, float32 from 0 to 1, shape (images, 28, 28).
        y_train: The digits they show, int64, shape (images,).
        x_test: Images that training does not see, as ``x_train``.
        y_test: The digits they show.
    """

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array


def load_digits(path: str | os.PathLike[str] | None = None) -> Digits:
    """Return MNIST images and their digits, as the tutorial's network takes them.

    Args:
        path: A ``mnist.npz`` in Keras's layout: ``x_train``, ``y_train``, ``x_test`` and
            ``y_test``, uint8. None for the 6,000 + 1,000 images that come with the package.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is damaged, no ``.npz`` file, or holds pickled objects.
        DataError: If arrays are missing, or of another shape or type.

    Example:
        >>> digits = load_digits()
        >>> digits.x_train.shape, digits.x_test.shape, digits.y_test[:3]
        ((6000, 28, 28), (1000, 28, 28), array([7, 2, 1]))

    Source: LeCun, Cortes, Burges: The MNIST database of handwritten digits (DATA.md).
    """
    file = _PACKAGED if path is None else Path(path)
    arrays = _arrays_in(file)
    missing = [name for name in Digits._fields if name not in arrays]
    if missing:
        raise DataError(
            f"{str(file)!r} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}. "
            "A file in the layout of Keras's mnist.npz has x_train, y_train, x_test, y_test"
        )
    train = _checked(file, arrays, "train")
    return Digits(*train, *_checked(file, arrays, "test"))


def _arrays_in(file: Path) -> Mapping[str, Array]:
    # Opened here, so that what the system says of a path is not taken for a damaged file.
    with file.open("rb") as stream:
        try:
            opened = np.load(stream, allow_pickle=False)
            if isinstance(opened, np.ndarray):
                raise FileFormatError(f"{str(file)!r} holds one array; an .npz file is needed")
            return {name: opened[name] for name in opened.files}
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, FileFormatError):
                raise
            raise FileFormatError(
                f"{str(file)!r} is damaged or no .npz file of plain arrays: {error}"
            ) from error


def _checked(file: Path, arrays: Mapping[str, Array], part: str) -> tuple[Array, Array]:
    """Return the images and digits of a part, scaled and converted."""
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.ndim != 3 or x.shape[1:] != (28, 28) or not len(x) or x.dtype != np.uint8:
        raise DataError(
            f"x_{part} in {str(file)!r} must be uint8 images of shape (images, 28, 28); "
            f"got {x.dtype} of shape {x.shape}"
        )
    if y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() > 9:
        raise DataError(
            f"y_{part} in {str(file)!r} must be whole numbers 0 to 9, one for each of "
            f"{len(x)} images; got {y.dtype} of shape {y.shape}"
        )
    return x.astype(np.float32) / 255, y.astype(np.int64)
