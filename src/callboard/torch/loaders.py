"""A DataLoader that is gone on with in the middle of a pass."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from callboard._core.randomness import random_states, restore_random_states

__all__ = ["LoaderStream", "stream_of"]


def stream_of(data: object) -> LoaderStream | None:
    """Return how to go on with a DataLoader over map-style data; None for anything else."""
    if type(data) is not DataLoader or isinstance(data.dataset, IterableDataset):
        return None
    if data.batch_sampler is None or not getattr(data, "in_order", True):
        return None
    return LoaderStream(data)


class LoaderStream:
    """A stream over a DataLoader: what was done is skipped without being loaded.

    The order is that of the loader's own sampler. A pass that is gone on with begins from the
    random states that the pass had begun with, so the sampler gives the same order, and the batches
    that were done are left out of it. In worker processes, whose random states cannot be saved, the
    states are set for each batch, from the pass and the number of the batch; so the numbers that
    a dataset draws there do not depend on how many workers there are.

    Args:
        loader: The loader.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.data = loader
        self._order = _Order(loader)
        self._derived: DataLoader[Any] = DataLoader(
            _SeededDataset(loader.dataset) if loader.num_workers else loader.dataset,
            batch_sampler=self._order,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )

    def begin(self, skip: int, ready: Callable[[], None]) -> Iterator[Any]:
        """Begin a pass, or go on with one."""
        self._order.skip = skip
        iterator = iter(self._derived)
        self._order.begin()  # with workers it has begun: they are sent batches at once
        ready()
        return iterator

    def state_dict(self, taken: int) -> dict[str, Any]:  # noqa: ARG002 - for generators
        """Return the random states from which the pass began."""
        return {"began": self._order.began}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        self._order.resumed = state["began"]


class _Batch(list[Any]):
    """The indices of a batch, with a seed for what is drawn while it is loaded."""

    seed: int


class _Order:
    """The batches of indices that a loader's sampler gives, without those that are to be skipped.

    Attributes:
        skip: Batches to leave out of the pass that begins next.
        began: The random states from which the current pass began.
        resumed: The states from which the next pass has to begin, if it is one to go on with.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.skip = 0
        self.began: dict[str, Any] | None = None
        self.resumed: Mapping[str, Any] | None = None
        self._loader = loader
        self._batches: Iterator[Any] | None = None
        self._number = 0
        self._seed = b""

    def __iter__(self) -> Iterator[_Batch]:
        self._batches = None
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> _Batch:
        batch = _Batch(next(self.begin()))
        number = self._number.to_bytes(8, "little")
        # 63 bits: torch takes no more than that.
        batch.seed = (
            int.from_bytes(hashlib.blake2b(self._seed + number, digest_size=8).digest()) >> 1
        )
        self._number += 1
        return batch

    def begin(self) -> Iterator[Any]:
        """Begin the pass if it has not begun: a sampler draws its seed when it is first asked."""
        if self._batches is not None:
            return self._batches
        resumed, self.resumed = self.resumed, None
        if self.skip and resumed is not None:
            restore_random_states(resumed["global"])
            if resumed["own"] is not None:
                self._loader.generator.set_state(resumed["own"])
        own = self._loader.generator
        self.began = {"global": random_states(), "own": None if own is None else own.get_state()}
        states = torch.get_rng_state() if own is None else own.get_state()
        self._seed = hashlib.blake2b(states.numpy().tobytes(), digest_size=16).digest()
        self._batches = batches = iter(self._loader.batch_sampler or ())
        self._number = self.skip
        for _ in range(self.skip):
            next(batches, None)
        self.skip = 0
        return batches


class _SeededDataset(Dataset[Any]):
    """A dataset in a worker process, whose random numbers depend on the batch alone."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.__dict__["_dataset"] = dataset

    def __getattr__(self, name: str) -> Any:
        if name == "_dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._dataset, name, value)  # a worker_init_fn may set up the user's dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        return self._dataset[index]

    def __getitems__(self, batch: _Batch) -> list[Any]:
        if get_worker_info() is not None:
            random.seed(batch.seed)
            np.random.seed(batch.seed % 2**32)  # noqa: NPY002 - what the dataset may draw from
            torch.manual_seed(batch.seed)
        together = getattr(self._dataset, "__getitems__", None)
        if callable(together):
            items: list[Any] = together(list(batch))
            return items
        return [self._dataset[index] for index in batch]
