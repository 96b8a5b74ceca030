"""What ``fit`` is given, as batches of tensors on the model's device."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
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
from callboard.torch.arrays import is_numbers, tensors_of
from callboard.torch.placement import Placement

__all__ = [
    "ArrayBatches",
    "batches_of",
    "split_off",
]

# Rows gathered at a time: a few large gathers cost less than one for every batch.
_BLOCK_ROWS = 2048


class ArrayBatches:
    """Batches of arrays or tensors in memory.

    The order of an epoch is a function of (seed, epoch) alone.

    Args:
        x: Inputs. Floats and bytes become the module's type.
        y: Targets, or None. Floats become the module's type, float32 at least.
        sample_weight: Weight of each sample, or None.
        batch_size: Samples in a batch; the last one may be smaller.
        shuffle: Whether every epoch has an order of its own.
        placement: Where the batches are wanted, and of which type.
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
        placement: Placement,
        seed: int = 0,
    ) -> None:
        self._placement = placement
        self._data = Batch(
            mapped(self._narrowed(placement.input), tensors_of(x)),
            mapped(self._narrowed(placement.target), tensors_of(y)),
            mapped(self._narrowed(placement.target), tensors_of(sample_weight)),
        )
        self.samples = _common_length(self._data)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.steps: int | None = math.ceil(self.samples / batch_size)
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

    def order(self, epoch: int) -> Tensor | None:
        """Return the order of the samples in an epoch, int64 of shape (samples,), or None."""
        if not self.shuffle:
            return None
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % 2**63)
        return torch.randperm(self.samples, generator=generator)

    @staticmethod
    def _narrowed(cast: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return what casts that which gets no larger by it; the rest waits for its block.

        Bytes that are widened all at once would take four times the memory.
        """

        def narrowed(tensor: Tensor) -> Tensor:
            size = cast(tensor.new_empty(0)).itemsize
            return cast(tensor) if size <= tensor.itemsize else tensor

        return narrowed

    def _block(self, order: Tensor | None, start: int, end: int) -> Batch:
        def taken(tensor: Tensor) -> Tensor:
            if order is None:
                rows = tensor[start:end]
            else:
                rows = tensor.index_select(0, order[start:end].to(tensor.device))
            return rows.to(self._placement.device, non_blocking=True)

        def inputs(tensor: Tensor) -> Tensor:
            return self._placement.input(taken(tensor))

        def targets(tensor: Tensor) -> Tensor:
            return self._placement.target(taken(tensor))

        x, y, weight = self._data
        return Batch(mapped(inputs, x), mapped(targets, y), mapped(targets, weight))


def batches_of(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None,
    shuffle: bool,
    steps: int | None,
    placement: Placement,
    seed: int = 0,
) -> Batches:
    """Return the batches of whatever ``fit``, ``evaluate`` or ``predict`` was given.

    Tensors that a dataset, a loader or an iterable yields stay of their type.

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
            x, y, sample_weight, batch_size=size, shuffle=shuffle, placement=placement, seed=seed
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
    placed = functools.partial(placement.of, keep_tensors=True)
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


def _is_arrays(x: Any) -> bool:
    if isinstance(x, Mapping | tuple):
        return True
    if isinstance(x, list):
        return not x or is_numbers(x) or (not is_list_of_batches(x) and _is_arrays(x[0]))
    return hasattr(x, "__array__") and hasattr(x, "shape")


def _sliced(block: Batch, size: int) -> Iterator[Batch]:
    if all(part is None or isinstance(part, Tensor) for part in block):
        # The usual case without nesting: one call for each part instead of one for each batch.
        count = math.ceil(block.x.shape[0] / size)
        parts = [(None,) * count if part is None else part.split(size) for part in block]
        yield from map(Batch, *parts)
        return
    for start in range(0, next(leaves(block.x)).shape[0], size):
        rows = slice(start, start + size)
        yield Batch(*(mapped(operator.itemgetter(rows), part) for part in block))


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
