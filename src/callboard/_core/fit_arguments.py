"""What the arguments of ``fit``, ``evaluate`` and ``predict`` mean, whatever the framework."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from callboard._core.batches import Batch, is_list_of_batches, positive
from callboard._core.errors import ConfigurationError

__all__ = ["check_limit", "chunks", "fewer", "validation_parts", "validation_schedule"]


def validation_parts(data: Any) -> Batch:
    """Return the inputs, targets and sample weights in ``validation_data``.

    Raises:
        ConfigurationError: If it is a tuple of another length.
    """
    if isinstance(data, tuple | list) and not is_list_of_batches(data):
        if not 1 <= len(data) <= 3:
            raise ConfigurationError(
                f"validation_data must be (x, y) or (x, y, sample_weight); got {len(data)} values"
            )
        return Batch(*(*data, None, None)[:3])
    return Batch(data, None, None)


def validation_schedule(frequency: int | Sequence[int]) -> Callable[[int], bool]:
    """Return a function of the epoch, from 0, that says whether to validate after it."""
    if isinstance(frequency, int) and not isinstance(frequency, bool) and frequency > 0:
        return lambda epoch: (epoch + 1) % frequency == 0
    if isinstance(frequency, Sequence) and all(isinstance(epoch, int) for epoch in frequency):
        return lambda epoch: epoch + 1 in frequency
    raise ConfigurationError(
        "validation_freq must be a number of epochs, 1 or more, or a list of epochs (from 1); "
        f"got {frequency!r}"
    )


def check_limit(steps: int | None, name: str) -> None:
    """Raise ConfigurationError unless a number of steps is 1 or more, or None."""
    if steps is not None:
        positive(steps, name)


def chunks(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Yield the batches in lists of ``size``; the last one may be shorter."""
    if size == 1:
        for batch in batches:
            yield [batch]
        return
    stream = iter(batches)
    while chunk := list(itertools.islice(stream, size)):
        yield chunk


def fewer(known: int | None, limit: int | None) -> int | None:
    """Return how many batches there will be, if that is known."""
    return limit if known is None else min(known, limit or known)
