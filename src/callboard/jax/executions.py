"""What is trained between two calls of the batch hooks: a batch, or several as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from callboard._core.batches import Batch, Batches, Ready
from callboard._core.fit_arguments import chunks
from callboard._core.nested import leaves, mapped
from callboard.jax.data import ArrayBatches, part_of, rows_of
from callboard.jax.placement import Placement

__all__ = ["Execution", "executions_of", "placed_ahead"]


class Execution(NamedTuple):
    """What is trained on between two calls of the batch hooks.

    Attributes:
        batches: The batches, one after the other; or one whose arrays have an axis more in front,
            the steps, if there are several of one size.
        steps: How many they are.
        samples: How many samples.
        stacked: Whether the arrays have that axis.
    """

    batches: tuple[Batch, ...]
    steps: int
    samples: int
    stacked: bool

    def first(self) -> Batch:
        """Return the first of the batches."""
        first = self.batches[0]
        return jax.tree.map(lambda a: a[0], first) if self.stacked else first


def executions_of(
    batches: Batches, epoch: int, skip: int, steps: int, ready: Ready, placement: Placement
) -> Iterator[Execution]:
    """Yield the batches of an epoch so many at a time, on the devices where they are trained on."""
    found = _executions(batches, epoch, skip, steps, ready)
    if placement.is_here:
        return found
    placed = _placed(found, placement)
    # A loader's position is that of the batch that is trained on: nothing is fetched before.
    return placed_ahead(placed) if isinstance(batches, ArrayBatches) else placed


def placed_ahead(placed: Iterator[Execution]) -> Iterator[Execution]:
    """Yield executions; the next one is sent to the devices before this one is trained on."""
    following = next(placed, None)
    while following is not None:
        current, following = following, next(placed, None)
        yield current


def _placed(executions: Iterator[Execution], placement: Placement) -> Iterator[Execution]:
    placed = placement.placing()
    for execution in executions:
        batches = (placed(batch, stacked=execution.stacked) for batch in execution.batches)
        yield execution._replace(batches=tuple(batches))


def _executions(
    batches: Batches, epoch: int, skip: int, steps: int, ready: Ready
) -> Iterator[Execution]:
    if steps == 1:
        for batch in batches.epoch(epoch, skip, ready):
            yield Execution((batch,), 1, rows_of(batch), stacked=False)
    elif isinstance(batches, ArrayBatches):
        for block in batches.blocks(epoch, skip, steps, ready):
            yield _cut(block, batches.batch_size, steps)
    else:
        for chunk in chunks(batches.epoch(epoch, skip, ready), steps):
            yield _stacked(chunk, steps)


def _stacked(chunk: list[Batch], steps: int) -> Execution:
    samples = sum(map(rows_of, chunk))
    shapes = {tuple((leaf.shape, leaf.dtype) for leaf in leaves(batch)) for batch in chunk}
    if len(chunk) < steps or len(shapes) > 1:
        return Execution(tuple(chunk), len(chunk), samples, stacked=False)
    batch = jax.tree.map(lambda *parts: np.stack(parts), *chunk)
    return Execution((batch,), steps, samples, stacked=True)


def _cut(block: Batch, size: int, steps: int) -> Execution:
    rows = rows_of(block)
    if rows // size == steps:
        batch = Batch(*(mapped(lambda a: _in_steps(a, steps), part) for part in block))
        return Execution((batch,), steps, rows, stacked=True)
    found = tuple(part_of(block, start, start + size) for start in range(0, rows, size))
    return Execution(found, len(found), rows, stacked=False)


def _in_steps(array: Any, steps: int) -> Any:
    return array.reshape(steps, -1, *array.shape[1:])
