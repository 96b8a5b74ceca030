"""What ``fit`` is given, as batches of (x, y, sample_weight)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from callboard._core.errors import ConfigurationError, DataError
from callboard._core.stream import stream_of

__all__ = [
    "Batch",
    "Batches",
    "GeneratorBatches",
    "LimitedBatches",
    "LoaderBatches",
    "Ready",
    "is_list_of_batches",
    "nothing",
    "positive",
]


class Batch(NamedTuple):
    """One batch; any part may be nested in dicts, lists and tuples.

    Attributes:
        x: Inputs, first axis the samples.
        y: Targets, or None.
        sample_weight: Weight of each sample, or None.
    """

    x: Any
    y: Any
    sample_weight: Any


Ready = Callable[[], None]


def nothing() -> None:
    """Wait for no data."""


class Batches(Protocol):
    """Data that can be gone through once an epoch.

    Attributes:
        steps: Batches in an epoch, or None if that is not known.
    """

    steps: int | None

    def epoch(self, epoch: int, skip: int = 0, ready: Ready = nothing) -> Iterator[Batch]:
        """Yield the batches of an epoch, as the framework wants them.

        Args:
            epoch: The epoch, from 0.
            skip: Batches of it that were done before the training was interrupted.
            ready: Called when the data is opened and they are skipped, before the first batch is
                fetched: opening data may draw random numbers, whose states are then put back.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return where the data stands."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``, in the middle of an epoch by its ``skip``."""


class LoaderBatches:
    """Batches of a DataLoader, or of any iterable that can be begun anew.

    With ``steps``, an epoch goes on where the last one ended, and the data begins anew when it is
    used up.

    Args:
        loader: Yields x, (x, y) or (x, y, sample_weight).
        steps: Batches in an epoch; None for one pass over the loader.
        placed: Returns a batch as the framework wants it.
    """

    def __init__(
        self, loader: Iterable[Any], *, steps: int | None, placed: Callable[[Batch], Batch]
    ) -> None:
        self._stream = stream_of(loader)
        self._placed = placed
        self._limit = steps
        self._going_on: Iterator[Any] | None = None
        self._in_pass = 0  # items taken of the pass that goes on, with a limit
        self.steps = steps if steps is not None else _length(loader)

    def epoch(self, epoch: int, skip: int = 0, ready: Ready = nothing) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        if self._limit is None:
            items = self._stream.begin(skip, ready)
        else:
            items = self._next(self._limit - skip, ready)
        count = skip
        for item in items:
            yield self._placed(_unpacked(item))
            count += 1
        if not count:
            raise DataError(f"the data has no batch in epoch {epoch + 1}")

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands."""
        return {"stream": self._stream.state_dict(self._in_pass), "in_pass": self._in_pass}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self._stream.load_state_dict(state["stream"])
        self._in_pass = state["in_pass"]

    def _next(self, steps: int, ready: Ready) -> Iterator[Any]:
        if self._going_on is None:
            self._going_on = self._stream.begin(self._in_pass, ready)
        else:
            ready()
        for _ in range(steps):
            item = next(self._going_on, _END)
            if item is _END:
                self._in_pass = 0
                self._going_on = self._stream.begin(0, nothing)
                item = next(self._going_on, _END)
                if item is _END:
                    return
            self._in_pass += 1
            yield item


class GeneratorBatches:
    """Batches of a generator, which can be gone through once in all.

    Args:
        generator: Yields x, (x, y) or (x, y, sample_weight).
        steps: Batches in an epoch; None to take all there are in one epoch.
        placed: Returns a batch as the framework wants it.
    """

    def __init__(
        self, generator: Iterator[Any], *, steps: int | None, placed: Callable[[Batch], Batch]
    ) -> None:
        self._stream = stream_of(generator)
        self._placed = placed
        self._taken = 0
        self.steps = steps

    def state_dict(self) -> dict[str, Any]:
        """Return how much was taken of the generator."""
        return self._stream.state_dict(self._taken)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self._stream.load_state_dict(state)
        self._taken = state["taken"]

    def epoch(self, epoch: int, skip: int = 0, ready: Ready = nothing) -> Iterator[Batch]:
        """Yield the batches of an epoch.

        Raises:
            DataError: If the generator ends before the epoch does.
        """
        count = skip
        left = None if self.steps is None else self.steps - skip
        for item in itertools.islice(self._stream.begin(0, ready), left):
            self._taken += 1
            yield self._placed(_unpacked(item))
            count += 1
        if count < (self.steps or 1):
            wanted = "at least one" if self.steps is None else f"steps_per_epoch={self.steps}"
            raise DataError(
                f"the generator ended after {count} batches of epoch {epoch + 1}, which needs "
                f"{wanted}; let it yield more, lower steps_per_epoch, or pass data that can be "
                "begun anew, such as a DataLoader"
            )


_END = object()


class LimitedBatches:
    """So many batches an epoch of data whose passes are told by their number.

    An epoch goes on where the last one ended.

    Args:
        arrays: The data.
        steps: Batches in an epoch.
    """

    def __init__(self, arrays: Batches, steps: int) -> None:
        self._arrays = arrays
        self.steps: int | None = steps
        self._first: int | None = None  # the epoch that began with the first pass

    def epoch(self, epoch: int, skip: int = 0, ready: Ready = nothing) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        steps, in_pass = self.steps or 0, self._arrays.steps or 1
        self._first = epoch if self._first is None else self._first
        passes, done = divmod((epoch - self._first) * steps + skip, in_pass)
        batches = self._arrays.epoch(passes, done, ready)
        for _ in range(steps - skip):
            batch = next(batches, None)
            if batch is None:
                passes += 1
                batches = self._arrays.epoch(passes)
                batch = next(batches)
            yield batch
        if skip >= steps:
            ready()

    def state_dict(self) -> dict[str, Any]:
        """Return where the data stands."""
        return {"arrays": self._arrays.state_dict(), "first": self._first}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self._arrays.load_state_dict(state["arrays"])
        self._first = state["first"]


def is_list_of_batches(data: object) -> bool:
    """Say whether data is a list of ``(x, y)``; a list of several inputs holds arrays or dicts."""
    return isinstance(data, list) and bool(data) and isinstance(data[0], tuple)


def _unpacked(item: Any) -> Batch:
    if not isinstance(item, tuple | list):
        return Batch(item, None, None)
    if not 1 <= len(item) <= 3:
        raise DataError(
            f"the data yields {len(item)} values at a time; "
            "allowed are x, (x, y) and (x, y, sample_weight)"
        )
    return Batch(*item, *(None,) * (3 - len(item)))


def _length(loader: Iterable[Any]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type] # an IterableDataset's loader raises TypeError
    except TypeError:
        return None


def positive(value: object, name: str) -> int:
    """Return a count, or raise ConfigurationError unless it is a whole number, 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name} must be a whole number, 1 or more; got {value!r}")
    return value
