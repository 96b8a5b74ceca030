"""Tensors as NumPy arrays, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from callboard._core.errors import DataError
from callboard.checkpoint.dtypes import stand_in

__all__ = ["array_dtype", "is_numbers", "tensors_of", "to_array", "to_tensor", "widened"]

# dtypes that NumPy lacks: the integer type with the same bits, and the structured stand-in.
_STAND_INS = {
    torch.bfloat16: (torch.uint16, stand_in("bfloat16", "<u2")),
    torch.float8_e4m3fn: (torch.uint8, stand_in("float8_e4m3fn", "u1")),
    torch.float8_e5m2: (torch.uint8, stand_in("float8_e5m2", "u1")),
}
_TORCH_DTYPES = {stood: (bits, dtype) for dtype, (bits, stood) in _STAND_INS.items()}


_HALF = (torch.float16, torch.bfloat16)


def array_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    """Return the type that the elements of a tensor have in NumPy."""
    if dtype in _STAND_INS:
        return _STAND_INS[dtype][1]
    return torch.empty(0, dtype=dtype).numpy().dtype


def to_array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """Return a tensor's values on the host, without a copy where it lies there already."""
    tensor = tensor.detach().cpu()
    if tensor.dtype in _STAND_INS:
        bits, stood = _STAND_INS[tensor.dtype]
        return tensor.contiguous().view(bits).numpy().view(stood)
    return tensor.numpy()


def to_tensor(array: Any) -> torch.Tensor:
    """Return a tensor of a tensor, a NumPy array, a number, or nested lists of numbers.

    Memory is shared where it can be.

    Raises:
        DataError: If it holds anything else than numbers.
    """
    if isinstance(array, torch.Tensor):
        return array
    if hasattr(array, "to_numpy"):  # pandas, polars
        array = array.to_numpy()
    array = np.asarray(array)
    if array.dtype in _TORCH_DTYPES:
        bits, dtype = _TORCH_DTYPES[array.dtype]
        plain = array.view(f"<u{bits.itemsize}")
        return torch.from_numpy(plain.copy()).view(dtype)
    if array.dtype.kind not in "biufc":
        raise DataError(f"data must be numbers; got {array.dtype} of shape {array.shape}")
    if not array.flags.writeable or not array.dtype.isnative or min(array.strides, default=0) < 0:
        # torch shares memory with writable arrays of the machine's byte order only.
        array = array.astype(array.dtype.newbyteorder("="), copy=True)
    return torch.from_numpy(np.asarray(array))


def tensors_of(tree: Any, made: Callable[[Any], torch.Tensor] = to_tensor) -> Any:
    """Return nested tensors of nested arrays; a list of numbers, however deep, is one array.

    Args:
        tree: The arrays.
        made: Makes a tensor of an array, a tensor, a number or a list of numbers.
    """
    if is_numbers(tree):
        return made(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tensors_of(value, made) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(tensors_of(value, made) for value in tree)
    if isinstance(tree, Mapping):
        return {key: tensors_of(value, made) for key, value in tree.items()}
    return None if tree is None else made(tree)


def is_numbers(tree: object) -> bool:
    """Say whether nested lists are one array of numbers, and not several arrays."""
    return isinstance(tree, list) and bool(tree) and isinstance(tree[0], list | int | float)


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return half precision as float32, in which one can add up, and anything else as it is."""
    return tensor.float() if tensor.dtype in _HALF else tensor
