"""What the arguments of ``fit``, ``evaluate`` and ``predict`` mean, whatever the framework."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from callboard._core.batches import Batch, is_list_of_batches, positive
from callboard._core.checks import ConfigurationWarning
from callboard._core.errors import ConfigurationError

__all__ = [
    "check_limit",
    "chunks",
    "fewer",
    "limited",
    "validation_parts",
    "validation_schedule",
]

_T = TypeVar("_T")


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


def limited(batches: Iterable[_T], limit: int | None, name: str) -> Iterator[_T]:
    """Yield so many batches, or all; warn if there are fewer, as Keras does.

    Args:
        batches: The batches.
        limit: How many; None for all.
        name: What the argument with that number is called.
    """
    count = 0
    for batch in itertools.islice(batches, limit):
        yield batch
        count += 1
    if limit is not None and count < limit:
        warnings.warn(
            f"the data ended after {count} batches, and {name}={limit}; the result is of {count}",
            ConfigurationWarning,
            stacklevel=2,
        )


def fewer(known: int | None, limit: int | None) -> int | None:
    """Return how many batches there will be, if that is known."""
    return limit if known is None else min(known, limit or known)
