"""What ``fit`` is given, as batches of tensors on the model's device."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from callboard._core.batches import (
    Batch,
    Batches,
    GeneratorBatches,
    LimitedBatches,
    LoaderBatches,
    Ready,
    is_list_of_batches,
    nothing,
    positive,
)
from callboard._core.errors import ConfigurationError, DataError
from callboard._core.nested import leaves, mapped
from callboard.torch.arrays import to_tensor

__all__ = [
    "ArrayBatches",
    "batches_of",
    "on_device",
    "split_off",
    "tensors_of",
]

# Rows gathered at a time: a few large gathers cost less than one for every batch.
_BLOCK_ROWS = 2048


class ArrayBatches:
    """Batches of arrays or tensors in memory.

    The order of an epoch is a function of (seed, epoch) alone.

    Args:
        x: Inputs; float64 becomes float32 and uint8 float32, as a float32 model needs.
        y: Targets, or None.
        sample_weight: Weight of each sample, or None.
        batch_size: Samples in a batch; the last one may be smaller.
        shuffle: Whether every epoch has an order of its own.
        device: Where the batches are wanted.
        seed: Chooses the orders.

    Raises:
        DataError: If there are no samples, or their numbers differ.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        batch_size: int,
        shuffle: bool,
        device: torch.device,
        seed: int = 0,
    ) -> None:
        parts = (tensors_of(x), tensors_of(y), tensors_of(sample_weight))
        self._data = Batch(*(mapped(_narrowed, part) for part in parts))
        self.samples = _common_length(self._data)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.steps: int | None = math.ceil(self.samples / batch_size)
        self._device = device
        self._seed = seed

    def epoch(self, epoch: int, skip: int = 0, ready: Ready = nothing) -> Iterator[Batch]:
        """Yield the batches of an epoch, gathered a block at a time."""
        ready()
        size = self.batch_size
        order = self.order(epoch)
        rows = max(_BLOCK_ROWS // size, 1) * size
        for start in range(skip * size, self.samples, rows):
            block = self._block(order, start, min(start + rows, self.samples))
            yield from _sliced(block, size)

    def state_dict(self) -> dict[str, Any]:
        """Return the seed: with the epoch it says the order."""
        return {"seed": self._seed, "samples": self.samples, "batch_size": self.batch_size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in the same orders.

        Raises:
            DataError: If the data or the batches have another size.
        """
        then = (state["samples"], state["batch_size"])
        if then != (self.samples, self.batch_size):
            raise DataError(
                f"the saved run had {then[0]} samples in batches of {then[1]}, and this one has "
                f"{self.samples} in batches of {self.batch_size}; pass the same data, or begin "
                "anew in another folder"
            )
        self._seed = state["seed"]

    def order(self, epoch: int) -> torch.Tensor | None:
        """Return the order of the samples in an epoch, int64 of shape (samples,), or None."""
        if not self.shuffle:
            return None
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(self.samples, generator=generator)

    def _block(self, order: torch.Tensor | None, start: int, end: int) -> Batch:
        def taken(tensor: torch.Tensor) -> torch.Tensor:
            if order is None:
                rows = tensor[start:end]
            else:
                rows = tensor.index_select(0, order[start:end].to(tensor.device))
            return rows.to(self._device, non_blocking=True)

        # Bytes are widened here and not all at once, which would take four times the memory.
        return Batch(
            mapped(lambda a: _input(taken(a)), self._data.x),
            mapped(taken, self._data.y),
            mapped(taken, self._data.sample_weight),
        )


def batches_of(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None,
    shuffle: bool,
    steps: int | None,
    device: torch.device,
    seed: int = 0,
) -> Batches:
    """Return the batches of whatever ``fit``, ``evaluate`` or ``predict`` was given.

    Raises:
        DataError: If there is no data, or it does not fit together.
        ConfigurationError: For ``y`` or ``sample_weight`` beside data that brings its own.
    """
    if x is None:
        raise DataError("there is no data: x is None; pass arrays, tensors, a Dataset or a loader")
    size = 32 if batch_size is None else positive(batch_size, "batch_size")
    if steps is not None:
        positive(steps, "steps_per_epoch")
    if _is_arrays(x):
        arrays = ArrayBatches(
            x, y, sample_weight, batch_size=size, shuffle=shuffle, device=device, seed=seed
        )
        return arrays if steps is None else LimitedBatches(arrays, steps)
    if y is not None or sample_weight is not None:
        raise ConfigurationError(
            f"y and sample_weight are for arrays; a {type(x).__name__} yields them itself: "
            "(x, y) or (x, y, sample_weight)"
        )
    if isinstance(x, Dataset) and not isinstance(x, DataLoader):
        shuffled = shuffle and not isinstance(x, IterableDataset)
        x = DataLoader(x, batch_size=size, shuffle=shuffled)
    if not isinstance(x, Iterable):
        raise DataError(
            f"x is a {type(x).__name__}; allowed are arrays, tensors, dicts and tuples of them, a "
            "torch Dataset or DataLoader, and any iterable of batches"
        )
    placed = functools.partial(on_device, device=device)
    if isinstance(x, Iterator):
        return GeneratorBatches(x, steps=steps, placed=placed)
    return LoaderBatches(x, steps=steps, placed=placed)


def split_off(data: Batch, fraction: float) -> tuple[Batch, Batch]:
    """Split the last ``fraction`` of the samples off, as ``validation_split`` asks.

    Raises:
        ConfigurationError: If the fraction is not between 0 and 1.
        DataError: If one of the parts would be empty, or the data is no arrays.
    """
    if not 0 < fraction < 1:
        raise ConfigurationError(f"validation_split must lie between 0 and 1; got {fraction!r}")
    if not _is_arrays(data.x):
        raise DataError(
            "validation_split needs arrays or tensors; with a Dataset or loader pass "
            "validation_data"
        )
    tensors = Batch(*map(tensors_of, data))
    samples = _common_length(tensors)
    at = math.floor(samples * (1 - fraction))
    if at in (0, samples):
        raise DataError(
            f"validation_split={fraction} of {samples} samples leaves nothing to train on, or "
            "nothing to validate on"
        )
    return (
        Batch(*(mapped(lambda a: a[:at], part) for part in tensors)),
        Batch(*(mapped(lambda a: a[at:], part) for part in tensors)),
    )


def tensors_of(tree: Any) -> Any:
    """Return nested tensors of nested arrays; a list of numbers, however deep, is one array."""
    if _is_numbers(tree):
        return to_tensor(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(tensors_of, tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map(tensors_of, tree))
    if isinstance(tree, Mapping):
        return {key: tensors_of(value) for key, value in tree.items()}
    return None if tree is None else to_tensor(tree)


def _is_arrays(x: Any) -> bool:
    if isinstance(x, Mapping | tuple):
        return True
    if isinstance(x, list):
        return not x or _is_numbers(x) or (not is_list_of_batches(x) and _is_arrays(x[0]))
    return hasattr(x, "__array__") and hasattr(x, "shape")


def _is_numbers(tree: object) -> bool:
    return isinstance(tree, list) and bool(tree) and isinstance(tree[0], list | int | float)


def _sliced(block: Batch, size: int) -> Iterator[Batch]:
    if all(part is None or isinstance(part, torch.Tensor) for part in block):
        # The usual case without nesting: one call for each part instead of one for each batch.
        count = math.ceil(block.x.shape[0] / size)
        parts = [(None,) * count if part is None else part.split(size) for part in block]
        yield from map(Batch, *parts)
        return
    for start in range(0, next(leaves(block.x)).shape[0], size):
        rows = slice(start, start + size)
        yield Batch(*(mapped(operator.itemgetter(rows), part) for part in block))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch as tensors on a device, of the types that a float32 model takes."""
    x, y, weight = map(tensors_of, batch)
    return Batch(
        mapped(lambda a: _input(a.to(device, non_blocking=True)), x),
        mapped(lambda a: _narrowed(a.to(device, non_blocking=True)), y),
        mapped(lambda a: _narrowed(a.to(device, non_blocking=True)), weight),
    )


def _narrowed(tensor: torch.Tensor) -> torch.Tensor:
    """Return float32 for float64, which NumPy makes by default and models seldom have."""
    return tensor.float() if tensor.dtype is torch.float64 else tensor


def _input(tensor: torch.Tensor) -> torch.Tensor:
    """Return an input as a float32 model takes it: images of bytes become floats."""
    return tensor.float() if tensor.dtype is torch.uint8 else _narrowed(tensor)


def _common_length(data: Batch) -> int:
    lengths = {
        f"{name}{'' if len(found) == 1 else f'[{i}]'}": tensor.shape[0] if tensor.ndim else None
        for name, part in zip(Batch._fields, data, strict=True)
        for found in [list(leaves(part))]
        for i, tensor in enumerate(found)
    }
    if None in lengths.values() or len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"x, y and sample_weight must have the same number of samples; got {told}")
    length = next(iter(lengths.values()), 0)
    if not length:
        raise DataError("there is no data: x has no samples")
    return int(length)
