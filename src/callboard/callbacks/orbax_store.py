"""Checkpoints in Orbax's format."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from callboard._core import frameworks
from callboard._core.errors import FileFormatError, NoCheckpointError, UnsupportedError
from callboard.checkpoint.dtypes import stand_in
from callboard.checkpoint.tree import join, split

__all__ = ["Loaded", "OrbaxStore"]

Tree = dict[str, Any]


class Loaded(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        step: Its number.
        text: Its state but for the arrays.
        arrays: The arrays by their paths in the state.
    """

    step: int
    text: str
    arrays: Mapping[str, np.ndarray[Any, Any]]

    def state(self, *, of_framework: bool) -> Tree:
        """Return the state, with arrays of the framework they were of, or of NumPy."""
        if of_framework:
            return dict(join(self.text, self.arrays, frameworks.revived))
        return dict(join(self.text, self.arrays))


class OrbaxStore:
    """A folder of checkpoints that Orbax writes and reads.

    The arrays of a state are Orbax's tree, nested as the state is; all else is JSON beside it.

    Args:
        directory: The folder.
        max_to_keep: How many of the newest are kept; None for all.

    Raises:
        UnsupportedError: If Orbax is not installed.
    """

    def __init__(self, directory: str, max_to_keep: int | None) -> None:
        self._orbax = _orbax()
        self._directory = Path(directory).absolute()
        self._max_to_keep = max_to_keep
        self._checkpointer: Any = None
        self._writing: Any = None

    def open(self) -> None:
        """Look at what the folder has.

        Raises:
            UnsupportedError: If several processes of JAX train together.
        """
        if self._orbax.multihost.process_count() > 1:
            raise UnsupportedError(
                "OrbaxCheckpoint writes in one process, and several of JAX train together; use "
                "Orbax itself there"
            )
        self.close()
        training = self._orbax.training
        keep = self._max_to_keep
        self._checkpointer = training.Checkpointer(
            self._directory,
            preservation_policy=None
            if keep is None
            else training.preservation_policies.LatestN(keep),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
        )

    def save(self, number: int, state: Tree, metrics: Mapping[str, float], *, waits: bool) -> int:
        """Copy a state and have it written; return the number it got.

        Raises:
            OSError: If it, or the one before, cannot be written.
        """
        self.wait()
        latest = self._checkpointer.latest
        step = number if latest is None else max(number, latest.step + 1)
        text, leaves = split(state, frameworks.source_of)
        arrays = {name: _host(leaf) for name, leaf in leaves.items()}
        empty = {n: [a.dtype.str, list(a.shape)] for n, a in arrays.items() if not a.size}
        self._writing = self._checkpointer.save_checkpointables_async(
            step,
            {"pytree": _nested({name: a for name, a in arrays.items() if a.size})},
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
            custom_metadata={"state": text, "empty": empty},
        )
        if waits:
            self.wait()
        return step

    def wait(self) -> None:
        """Return when what is being written is on the disk, or raise why it cannot be."""
        writing, self._writing = self._writing, None
        if writing is not None and not writing.result():
            raise OSError(f"Orbax did not save to {str(self._directory)!r}")

    def close(self) -> None:
        """Wait, and let go of the folder."""
        try:
            self.wait()
        finally:
            checkpointer, self._checkpointer = self._checkpointer, None
            if checkpointer is not None:
                checkpointer.close()

    def metrics(self, name: str) -> Iterator[float]:
        """Yield a metric of all checkpoints that have it."""
        for checkpoint in self._checkpointer.checkpoints:
            value = (checkpoint.metrics or {}).get(name)
            if isinstance(value, float):
                yield value

    def load(self, step: int | None) -> Loaded:
        """Read a checkpoint, the newest by default.

        Raises:
            NoCheckpointError: If it is not there.
            FileFormatError: If it was not written by callboard.
        """
        if not self._directory.is_dir():
            raise NoCheckpointError(f"there is no folder {str(self._directory)!r}")
        self.open()
        try:
            steps = [checkpoint.step for checkpoint in self._checkpointer.checkpoints]
            if not steps or (step is not None and step not in steps):
                wanted = "checkpoint" if step is None else f"checkpoint {step}"
                raise NoCheckpointError(
                    f"{str(self._directory)!r} has no {wanted}; there are: "
                    f"{', '.join(map(str, steps)) or 'none'}"
                )
            found = max(steps) if step is None else step
            beside = self._checkpointer.metadata(found).custom_metadata or {}
            if "state" not in beside:
                raise FileFormatError(
                    f"checkpoint {found} in {str(self._directory)!r} was not written by callboard; "
                    "load it with Orbax"
                )
            tree = self._checkpointer.load_checkpointables(found)["pytree"]
        finally:
            self.close()
        arrays = dict(_flat(tree))
        arrays |= {name: np.empty(shape, kind) for name, (kind, shape) in beside["empty"].items()}
        return Loaded(found, beside["state"], arrays)


def _orbax() -> Any:
    try:
        from orbax.checkpoint import v1
    except ImportError as error:
        raise UnsupportedError(
            "OrbaxCheckpoint needs Orbax: pip install orbax-checkpoint. ModelCheckpoint with a "
            "folder as its path needs nothing"
        ) from error
    return v1


def _host(leaf: Any) -> np.ndarray[Any, Any]:
    """Return a copy of an array; types that NumPy lacks are those that Orbax knows."""
    array = np.empty(leaf.shape, leaf.dtype)
    if isinstance(leaf, np.ndarray):
        np.copyto(array, leaf)
    else:
        leaf.copy_to(array)
    if not array.dtype.names:
        return array
    import ml_dtypes  # comes with Orbax

    return array.view(getattr(ml_dtypes, array.dtype.names[0]))


def _nested(arrays: Mapping[str, Any]) -> Tree:
    tree: Tree = {}
    for path, array in arrays.items():
        *parents, name = path.split("/")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = array
    return tree


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{name}/")
            continue
        array = np.asarray(value)
        if array.dtype.kind == "V" and not array.dtype.names:
            array = array.view(stand_in(array.dtype.name, f"<u{array.dtype.itemsize}"))
        yield f"{path}{name}", array
