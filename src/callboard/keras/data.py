"""Data for Keras's ``fit`` that can be gone on with in the middle of an epoch."""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import keras
import numpy as np

from callboard._core.run import Run
from callboard._core.stream import state_methods

__all__ = ["ArrayBatches", "LoaderBatches", "ResumableData", "resumable"]


class ResumableData(Protocol):
    """Data whose place in an epoch belongs to the state of a run."""

    def begin(self, run: Run, epoch: int) -> None:
        """Be ready for an epoch, or for the rest of one."""

    def state_dict(self) -> dict[str, Any]:
        """Return where the data stands, for the batches that are trained."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()``."""


class ArrayBatches(keras.utils.PyDataset):  # type: ignore[misc] # Keras has no types
    """Batches of arrays, whose order depends on a seed and the number of the epoch alone.

    Args:
        arrays: Inputs, targets and sample weights as ``fit`` takes them: arrays, or dicts and lists
            of them, whose first axis is the samples.
        batch_size: Samples in a batch; the last one may have fewer.
        shuffle: Whether each epoch has an order of its own.
    """

    def __init__(self, arrays: tuple[Any, ...], batch_size: int, *, shuffle: bool) -> None:
        super().__init__()
        self._arrays = arrays
        self._count = len(keras.tree.flatten(arrays)[0])
        self._batch_size = batch_size
        self._shuffle = shuffle
        # From NumPy's generator, which keras.utils.set_random_seed seeds.
        self._seed = int(np.random.randint(2**31)) if shuffle else 0  # noqa: NPY002 - as said
        self._order: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return math.ceil(self._count / self._batch_size)

    def __getitem__(self, index: int) -> Any:
        begin = index * self._batch_size
        chosen: Any = slice(begin, begin + self._batch_size)
        if self._order is not None:
            chosen = self._order[chosen]
        return keras.tree.map_structure(lambda array: array[chosen], self._arrays)

    def begin(self, run: Run, epoch: int) -> None:  # noqa: ARG002 - the protocol's
        """Have the order of an epoch."""
        if self._shuffle:
            self._order = np.random.default_rng((self._seed, epoch)).permutation(self._count)

    def state_dict(self) -> dict[str, Any]:
        """Return the seed."""
        return {"seed": self._seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._seed = state["seed"]


class LoaderBatches(keras.utils.PyDataset):  # type: ignore[misc] # Keras has no types
    """Batches of a loader that knows its own place, such as torchdata's or Grain's.

    Keras fetches batches before they are trained, so the state after each is kept until then.

    Args:
        loader: The loader, with a length. It or its iterators have ``state_dict`` and
            ``load_state_dict``, or ``get_state`` and ``set_state``.
    """

    def __init__(self, loader: Any) -> None:
        super().__init__()
        self._loader = loader
        self._iterator: Iterator[Any] | None = None
        # Weakly, as TensorFlow keeps what its data comes from for as long as the process lives.
        self._run: Callable[[], Run | None] = lambda: None
        self._done = 0
        self._next = 0
        self._ahead: Any = None
        self._states: deque[tuple[int, Any]] = deque()
        self._resumed: Any = None

    def __len__(self) -> int:
        return len(self._loader)

    def __getitem__(self, index: int) -> Any:
        # Keras looks at the first batches to see their shapes, and goes back to the first one.
        if self._iterator is None or (index == 0 and self._next > 0 and not self._done):
            self._iterator = self._open()
        if index < self._done:  # trained before the interruption: whatever, as it is skipped
            if self._ahead is None:
                self._ahead = next(self._iterator)
            return self._ahead
        batch, self._ahead = self._ahead, None
        if batch is None:
            batch = next(self._iterator)
        self._next = index + 1
        run = self._run()
        if run is not None and run.saves:
            self._states.append((self._next, self._own_state()))
        return keras.tree.map_structure(np.asarray, batch)  # of torch, on another backend

    def begin(self, run: Run, epoch: int) -> None:  # noqa: ARG002 - the protocol's
        """Open the loader, where it was if the epoch was interrupted."""
        self._run = weakref.ref(run)
        self._done = run.progress.batch
        self._iterator = self._open()

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's state behind the batches that are trained; None between epochs."""
        run = self._run()
        if run is None or not run.in_epoch:
            return {"loader": None}
        while self._states and self._states[0][0] < run.progress.batch:
            self._states.popleft()
        return {"loader": self._states[0][1] if self._states else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._resumed = state["loader"]

    def _open(self) -> Iterator[Any]:
        resumed, self._resumed = self._resumed, None
        self._states.clear()
        self._next = self._done
        self._ahead = None
        by_loader = state_methods(self._loader)
        if resumed is not None and by_loader:
            getattr(self._loader, by_loader[1])(resumed)
        iterator: Iterator[Any] = iter(self._loader)
        if resumed is not None and not by_loader:
            getattr(iterator, state_methods(iterator)[1])(resumed)
        self._states.append((self._done, resumed))
        return iterator

    def _own_state(self) -> Any:
        keeper = self._loader if state_methods(self._loader) else self._iterator
        return getattr(keeper, state_methods(keeper)[0])()


def resumable(
    x: Any, y: Any, sample_weight: Any, *, batch_size: int | None, shuffle: bool
) -> ArrayBatches | LoaderBatches | None:
    """Return the data of a ``fit`` so that it can be gone on with anywhere.

    None for what has to be given to Keras as it is: a ``PyDataset``, whose order comes from
    Python's random numbers; a ``tf.data.Dataset``, a generator, a torch ``DataLoader``.
    """
    if _knows_its_place(x):
        return LoaderBatches(x)
    given = [part for part in (x, y, sample_weight) if part is not None]
    leaves = [leaf for part in given for leaf in keras.tree.flatten(part)]
    if not leaves or not all(_is_array(leaf) for leaf in leaves):
        return None
    arrays = tuple(keras.tree.map_structure(_on_host, part) for part in given)
    return ArrayBatches(arrays, batch_size or 32, shuffle=shuffle)


def _knows_its_place(data: Any) -> bool:
    if isinstance(data, keras.utils.PyDataset) or not hasattr(data, "__len__"):
        return False
    if _is_array(data) or isinstance(data, list | tuple | dict):
        return False
    if state_methods(data):
        return True
    # Grain's loaders have their states on their iterators; torch's and others have none.
    return type(data).__module__.startswith("grain") and hasattr(data, "__iter__")


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) or keras.ops.is_tensor(leaf)


def _on_host(leaf: Any) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = keras.ops.convert_to_numpy(leaf)
    return array
