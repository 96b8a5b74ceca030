"""The data of a training loop, pass after pass, gone on with in the middle of a pass."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from callboard._core import frameworks
from callboard._core.checks import ConfigurationWarning
from callboard._core.randomness import random_states, restore_random_states

__all__ = ["IterableStream", "Stream", "state_methods", "stream_of"]


class Stream(Protocol):
    """Data that one pass after another is made over.

    Attributes:
        data: What the user gave.
    """

    data: Iterable[Any]

    def begin(self, skip: int, ready: Callable[[], None]) -> Iterator[Any]:
        """Begin a pass, or go on with the one that ``load_state_dict`` told of.

        Args:
            skip: Items of the pass that are done.
            ready: Called when the data is opened and the items skipped, before the first is
                fetched: the random states are put back then, as opening may draw numbers.
        """

    def state_dict(self, taken: int) -> dict[str, Any]:
        """Return where the data stands, after ``taken`` items of this stream in all."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""


def stream_of(data: Iterable[Any]) -> Stream:
    """Return the stream over what a user iterates over; frameworks know their own loaders."""
    for _, framework in frameworks.loaded():
        stream: Stream | None = framework.stream_of(data)
        if stream is not None:
            return stream
    return IterableStream(data)


class IterableStream:
    """A stream over any iterable.

    A loader with ``state_dict`` and ``load_state_dict`` of its own goes on by them (torchdata's
    StatefulDataLoader); so does one that has them, or ``get_state`` and ``set_state``, on its
    iterators (Grain's). Of a sequence the items done are left out. Any other iterable is gone
    through again up to there; so is a generator, from its beginning.

    Args:
        data: The iterable.
    """

    def __init__(self, data: Iterable[Any]) -> None:
        self.data = data
        self._iterator: Iterator[Any] | None = data if isinstance(data, Iterator) else None
        self._ended = False
        self._keeper: Any = data if state_methods(data) else None
        self._before: dict[str, Any] | None = None
        self._resumed: Mapping[str, Any] = {}

    def begin(self, skip: int, ready: Callable[[], None]) -> Iterator[Any]:
        """Begin a pass, or go on with one."""
        resumed, self._resumed = self._resumed, {}
        if self._keeper is self.data:
            if resumed and (skip or self._iterator is not None):  # of a pass, not between two
                _put_back(self.data, resumed["own"])
            iterator: Iterator[Any] = iter(self.data)
            ready()
            return iterator
        if self._iterator is not None:
            self._drop(self._iterator, resumed.get("taken", 0))
            ready()
            return self._until_its_end(self._iterator)
        if isinstance(self.data, Sequence):
            ready()
            return iter(self.data) if not skip else map(self.data.__getitem__, self._left(skip))
        if skip and resumed.get("before"):
            restore_random_states(resumed["before"])
        self._before = random_states()
        iterator = iter(self.data)
        self._keeper = iterator if state_methods(iterator) else None
        if self._keeper is None:
            self._drop(iterator, skip)
        elif skip:
            _put_back(iterator, resumed["own"])
        ready()
        return iterator

    def state_dict(self, taken: int) -> dict[str, Any]:
        """Return where the data stands."""
        if self._keeper is not None:
            return {"own": getattr(self._keeper, state_methods(self._keeper)[0])(), "before": None}
        if self._iterator is not None:
            return {"taken": 0 if self._ended else taken}
        return {"before": self._before}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self._resumed = state

    def _left(self, skip: int) -> Iterable[int]:
        return range(skip, len(self.data))  # type: ignore[arg-type] # a sequence

    def _until_its_end(self, iterator: Iterator[Any]) -> Iterator[Any]:
        for item in iterator:  # noqa: UP028 - "yield from" would close the user's generator too
            yield item
        self._ended = True

    def _drop(self, iterator: Iterator[Any], count: int) -> None:
        if not count:
            return
        warnings.warn(
            f"{count} items of a {type(self.data).__name__} are gone through again, to go on where "
            "the run was interrupted: that takes time, and has to give the same items as before. A "
            "list, a DataLoader over a map-style dataset, or a loader with state_dict() does not "
            "need it",
            ConfigurationWarning,
            stacklevel=4,
        )
        next(itertools.islice(iterator, count, count), None)


def state_methods(item: object) -> tuple[str, ...]:
    """Return the names of the methods by which something tells and takes its state, if any."""
    if not getattr(item, "use_stateful_dataloader", True):  # Accelerate's, whose methods fail then
        return ()
    for names in (("state_dict", "load_state_dict"), ("get_state", "set_state")):
        if all(callable(getattr(item, name, None)) for name in names):
            return names
    return ()


def _put_back(item: object, state: Any) -> None:
    getattr(item, state_methods(item)[1])(state)
