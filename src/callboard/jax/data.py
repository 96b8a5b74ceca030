"""What ``fit`` is given, as batches of NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

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

__all__ = [
    "ArrayBatches",
    "arrays_of",
    "as_arrays",
    "batches_of",
    "part_of",
    "rows_of",
    "split_off",
]

# Rows gathered at a time: a few large gathers cost less than one for every batch.
_BLOCK_ROWS = 2048


class ArrayBatches:
    """Batches of arrays in memory.

    The order of an epoch is a function of (seed, epoch) alone.

    Args:
        x: Inputs; float64 becomes float32 and uint8 float32, as a float32 model needs.
        y: Targets, or None.
        sample_weight: Weight of each sample, or None.
        batch_size: Samples in a batch; the last one may be smaller.
        shuffle: Whether every epoch has an order of its own.
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
        seed: int = 0,
    ) -> None:
        parts = (arrays_of(x), arrays_of(y), arrays_of(sample_weight))
        self._data = Batch(*(mapped(_narrowed, part) for part in parts))
        self.samples = _common_length(self._data)
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.steps: int | None = math.ceil(self.samples / batch_size)
        self._seed = seed

    @property
    def data(self) -> Batch:
        """All the data as one batch."""
        return self._data

    def weigh(self, sample_weight: np.ndarray[Any, Any] | None) -> None:
        """Replace the sample weights."""
        self._data = self._data._replace(sample_weight=sample_weight)

    def epoch(self, epoch: int, skip: int = 0, ready: Ready = nothing) -> Iterator[Batch]:
        """Yield the batches of an epoch, gathered a block at a time."""
        size = self.batch_size
        for block in self.blocks(epoch, skip, max(_BLOCK_ROWS // size, 1), ready):
            for start in range(0, rows_of(block), size):
                yield part_of(block, start, start + size)

    def blocks(self, epoch: int, skip: int, steps: int, ready: Ready = nothing) -> Iterator[Batch]:
        """Yield the data of an epoch, so many steps at a time, as one batch."""
        ready()
        order = self.order(epoch)
        rows = steps * self.batch_size
        for start in range(skip * self.batch_size, self.samples, rows):
            yield self._block(order, start, min(start + rows, self.samples))

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

    def order(self, epoch: int) -> np.ndarray[Any, Any] | None:
        """Return the order of the samples in an epoch, int64 of shape (samples,), or None."""
        if not self.shuffle:
            return None
        return np.random.default_rng((self._seed, epoch)).permutation(self.samples)

    def _block(self, order: np.ndarray[Any, Any] | None, start: int, end: int) -> Batch:
        def taken(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return array[start:end] if order is None else array.take(order[start:end], axis=0)

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
    seed: int = 0,
    check_size: Callable[[int], None] | None = None,
) -> Batches:
    """Return the batches of whatever ``fit``, ``evaluate`` or ``predict`` was given.

    Batches of arrays have the size that ``check_size`` does not object to.

    Raises:
        DataError: If there is no data, or it does not fit together.
        ConfigurationError: For ``y`` or ``sample_weight`` beside data that brings its own.
    """
    if x is None:
        raise DataError("there is no data: x is None; pass arrays or a loader")
    size = 32 if batch_size is None else positive(batch_size, "batch_size")
    if steps is not None:
        positive(steps, "steps_per_epoch")
    if _is_arrays(x):
        if check_size is not None:
            check_size(size)
        arrays = ArrayBatches(x, y, sample_weight, batch_size=size, shuffle=shuffle, seed=seed)
        return arrays if steps is None else LimitedBatches(arrays, steps)
    if y is not None or sample_weight is not None:
        raise ConfigurationError(
            f"y and sample_weight are for arrays; a {type(x).__name__} yields them itself: "
            "(x, y) or (x, y, sample_weight)"
        )
    if not isinstance(x, Iterable):
        raise DataError(
            f"x is a {type(x).__name__}; allowed are arrays, dicts and tuples of them, a loader, "
            "and any iterable of batches"
        )
    if isinstance(x, Iterator):
        return GeneratorBatches(x, steps=steps, placed=as_arrays)
    return LoaderBatches(x, steps=steps, placed=as_arrays)


def split_off(data: Batch, fraction: float) -> tuple[Batch, Batch]:
    """Split the last ``fraction`` of the samples off, as ``validation_split`` asks.

    Raises:
        ConfigurationError: If the fraction is not between 0 and 1.
        DataError: If one of the parts would be empty, or the data is no arrays.
    """
    if not 0 < fraction < 1:
        raise ConfigurationError(f"validation_split must lie between 0 and 1; got {fraction!r}")
    if not _is_arrays(data.x):
        raise DataError("validation_split needs arrays; with a loader pass validation_data")
    arrays = Batch(*map(arrays_of, data))
    samples = _common_length(arrays)
    at = math.floor(samples * (1 - fraction))
    if at in (0, samples):
        raise DataError(
            f"validation_split={fraction} of {samples} samples leaves nothing to train on, or "
            "nothing to validate on"
        )
    return part_of(arrays, 0, at), part_of(arrays, at, samples)


def as_arrays(batch: Batch) -> Batch:
    """Return a batch as arrays of the types that a float32 model takes."""
    x, y, weight = map(arrays_of, batch)
    return Batch(mapped(_input, x), mapped(_narrowed, y), mapped(_narrowed, weight))


def arrays_of(tree: Any) -> Any:
    """Return nested arrays; a list of numbers, however deep, is one array."""
    if _is_numbers(tree):
        return _array(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(arrays_of, tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map(arrays_of, tree))
    if isinstance(tree, Mapping):
        return {key: arrays_of(value) for key, value in tree.items()}
    return None if tree is None else _array(tree)


def _array(value: Any) -> Any:
    if isinstance(value, jax.Array):
        return value
    if hasattr(value, "to_numpy"):  # pandas, polars
        value = value.to_numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biufcV":
        raise DataError(f"data must be numbers; got {array.dtype} of shape {array.shape}")
    return array


def _narrowed(array: Any) -> Any:
    """Return 32 bits for 64, which NumPy makes by default and JAX would cut at every step."""
    if isinstance(array, jax.Array):
        return array
    wide = array.dtype == np.float64
    dtype = np.dtype(np.float32) if wide else jax.dtypes.canonicalize_dtype(array.dtype)
    return array if array.dtype == dtype else array.astype(dtype)


def _input(array: Any) -> Any:
    """Return an input as a float32 model takes it: images of bytes become floats."""
    return array.astype(np.float32) if array.dtype == np.uint8 else _narrowed(array)


def part_of(batch: Batch, start: int, end: int) -> Batch:
    """Return some of the samples of a batch."""
    if all(part is None or hasattr(part, "shape") for part in batch):
        return Batch(*[None if part is None else part[start:end] for part in batch])
    return Batch(*(mapped(lambda a: a[start:end], part) for part in batch))


def rows_of(batch: Batch) -> int:
    """Return the samples of a batch."""
    first = next(leaves(batch.x))
    return int(first.shape[0]) if first.ndim else 1


def _is_arrays(x: Any) -> bool:
    if isinstance(x, Mapping | tuple):
        return True
    if isinstance(x, list):
        return not x or _is_numbers(x) or (not is_list_of_batches(x) and _is_arrays(x[0]))
    return hasattr(x, "__array__") and hasattr(x, "shape")


def _is_numbers(tree: object) -> bool:
    return isinstance(tree, list) and bool(tree) and isinstance(tree[0], list | int | float)


def _common_length(data: Batch) -> int:
    lengths = {
        f"{name}{'' if len(found) == 1 else f'[{i}]'}": array.shape[0] if array.ndim else None
        for name, part in zip(Batch._fields, data, strict=True)
        for found in [list(leaves(part))]
        for i, array in enumerate(found)
    }
    if None in lengths.values() or len(set(lengths.values())) > 1:
        told = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise DataError(f"x, y and sample_weight must have the same number of samples; got {told}")
    length = next(iter(lengths.values()), 0)
    if not length:
        raise DataError("there is no data: x has no samples")
    return int(length)
