"""A folder of whole, verified checkpoints."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from callboard._core.errors import (
    ConfigurationError,
)
from callboard._core.fs import Disk
from callboard.checkpoint import removal
from callboard.checkpoint.catalog import Catalog
from callboard.checkpoint.claim import Claim
from callboard.checkpoint.keep import Best, Checkpoint, Rule, superseded, surplus
from callboard.checkpoint.names import ASIDE, LOCK
from callboard.checkpoint.reader import Reader, Revive
from callboard.checkpoint.snapshot import Buffers, Snapshot
from callboard.checkpoint.writer import Writer

__all__ = ["CheckpointStore"]


class CheckpointStore:
    """A folder of checkpoints, each whole and verified, or not there.

    A checkpoint is a folder below it: one safetensors file for every key at the top of the saved
    tree that has arrays, ``state.json`` with everything else, and ``manifest.json`` with the size
    and digest of every file and array. It is written under a temporary name, synced, and then
    renamed; older ones go only when it is durable.

    Args:
        directory: The folder; made by the first save.
        keep: Rules that say which to keep: ``last(3)``, ``best(2, "val_loss")``,
            ``every(epochs=10)``. What no rule keeps is removed after a save; the newest never is.
            Without rules all are kept.
        disk: The operations on files; a test may pass one that fails.
        clock: Returns seconds since 1970, for the times of checkpoints.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from callboard.checkpoint import last
        >>> with CheckpointStore(tempfile.mkdtemp(), keep=[last(2)]) as store:
        ...     for step in (10, 20, 30):
        ...         _ = store.save({"weights": {"w": np.full(3, step)}, "note": "x"}, step=step)
        ...     [checkpoint.step for checkpoint in store.checkpoints()]
        ...     store.load()
        [20, 30]
        {'weights': {'w': array([30, 30, 30])}, 'note': 'x'}
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: Sequence[Rule] = (),
        disk: Disk | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = Path(directory)
        self.keep = tuple(keep)
        self._disk = disk or Disk()
        self._clock = clock
        self._claim = Claim(self.directory, self._disk)
        self._catalog = Catalog(self.directory, self._disk, self._claim)
        self._reader = Reader(self.directory, self._disk, self._catalog)
        self._writer = Writer(self.directory, self._disk)
        self._whole: set[str] = set()  # written or verified by this object
        self._mutex = threading.RLock()

    def __repr__(self) -> str:
        return f"CheckpointStore({str(self.directory)!r})"

    # ---- reading ---------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints there are, oldest first; their arrays are not looked at.

        One whose manifest cannot be read is left out; ``verify`` and ``load`` name it.
        """
        with self._mutex:
            return self._catalog.checkpoints()

    @property
    def last(self) -> Checkpoint | None:
        """The newest checkpoint, or None."""
        return next(reversed(self.checkpoints()), None)

    @property
    def best(self) -> Checkpoint | None:
        """The best checkpoint by the first ``best`` rule, or None."""
        rule = next((rule for rule in self.keep if isinstance(rule, Best)), None)
        return None if rule is None else next(iter(rule(self.checkpoints())), None)

    def pointed_to(self, name: str) -> str | None:
        """Return the name of the checkpoint that ``best.json`` or ``last.json`` names, if any."""
        return self._catalog.pointed_to(name)

    def path(self, checkpoint: Checkpoint | str) -> Path:
        """Return the folder of a checkpoint."""
        return self.directory / (checkpoint if isinstance(checkpoint, str) else checkpoint.name)

    def load(
        self,
        checkpoint: Checkpoint | str | None = None,
        *,
        revived: Revive = lambda _, array: array,
        only: Sequence[str] = (),
    ) -> Any:
        """Return the tree of a checkpoint, every byte of it verified.

        Args:
            checkpoint: Which; by default the newest. If that one is damaged, it is set aside under
                a name that begins with ``damaged-``, with a warning, and the next older one taken.
            revived: Returns a framework's array, given the name of the framework and a NumPy array.
            only: Keys at the top of the tree to read, with the files of the others left alone.

        Raises:
            NoCheckpointError: If there is none, or not this one.
            DamagedCheckpointError: If it is damaged; without ``checkpoint``, if all are. Then
                nothing is changed.
            FileFormatError: If a later version of callboard wrote it.
            OSError: If it cannot be read for want of rights, memory or a network.
        """
        if checkpoint is not None:
            return self._reader.tree(self.path(checkpoint).name, revived, only)
        return self.load_newest(revived=revived, only=only)[1]

    def load_newest(
        self, *, revived: Revive = lambda _, array: array, only: Sequence[str] = ()
    ) -> tuple[Checkpoint, Any]:
        """Return the newest checkpoint that is whole, with its tree; otherwise as ``load``."""
        with self._mutex:
            manifest, tree, damaged = self._reader.newest(revived, only)
            found = manifest.checkpoint
            for name, problem in damaged.items():
                aside = self._set_aside(name, revived, only)
                moved = f"It was set aside as {aside!r}. " if aside else ""
                warnings.warn(
                    f"{problem}. {moved}{found.name} is used instead, from {str(self.directory)!r}",
                    RuntimeWarning,
                    stacklevel=3,
                )
            if not only:  # all of it is verified, so unchanged files may be taken over
                self._writer.previous = manifest
                self._whole.add(found.name)
            return found, tree

    def verify(self, checkpoint: Checkpoint | str) -> list[str]:
        """Read every byte of a checkpoint and return what is wrong with it: nothing, if whole.

        Raises:
            NoCheckpointError: If it is not there.
        """
        return self._reader.problems(self.path(checkpoint).name)

    def _set_aside(self, name: str, revived: Revive, only: Sequence[str]) -> str:
        """Rename a damaged checkpoint, if that can be; return the new name, or an empty one."""
        held = self._claim.held
        # A folder that may only be read, or that another process writes to, stays as it is.
        with contextlib.suppress(OSError), contextlib.ExitStack() as ending:
            self._begin()
            if not held:  # who only reads is in nobody's way
                ending.callback(self._claim.give_up)
            if self._reader.is_damaged(name, revived, only):  # and was not saved anew meanwhile
                return removal.set_aside(self._disk, self.directory, name)
        return ""

    # ---- writing ---------------------------------------------------------------------------------

    def save(
        self,
        tree: Mapping[str, Any],
        *,
        step: int,
        epoch: int = 0,
        metrics: Mapping[str, float] | None = None,
    ) -> Checkpoint:
        """Save nested state; return when it is durable.

        Args:
            tree: A dict with texts as keys: numbers, texts, bytes, None, NumPy arrays, and dicts,
                lists and tuples of them.
            step: Training steps done.
            epoch: Epochs done.
            metrics: Numbers that the rules may ask for.

        Raises:
            TypeError: For what cannot be saved.
            ConfigurationError: If ``step`` or ``epoch`` is no count.
            OSError: If it cannot be written; the checkpoints before are still there.
        """
        snapshot = Buffers().snapshot(tree)
        with self._mutex:
            saved = self.write(snapshot, step=step, epoch=epoch, metrics=metrics or {})
            self.prune()
            return saved

    def write(
        self, snapshot: Snapshot, *, step: int, epoch: int, metrics: Mapping[str, float]
    ) -> Checkpoint:
        """Write a snapshot as ``save`` does, and remove nothing; ``prune`` does that."""
        step, epoch = _count(step, "step"), _count(epoch, "epoch")
        with self._mutex:
            if not self._catalog.has_folder:  # someone has removed it meanwhile
                self.close()
            self._begin()
            removal.sweep(self._disk, self.directory)
            number = 1 + max((c.number for c in self._catalog.checkpoints()), default=0)
            finite = {n: float(value) for n, value in metrics.items() if math.isfinite(value)}
            checkpoint = Checkpoint(
                self._catalog.free_name(step), number, step, epoch, finite, self._clock()
            )
            self._writer.write(checkpoint, snapshot)
            self._whole.add(checkpoint.name)
            self._catalog.add(checkpoint)
            self._point("last", checkpoint)
            if self.best is not None:
                self._point("best", self.best)
            return checkpoint

    def prune(self, rules: Sequence[Rule] | None = None, *, dry: bool = False) -> list[Checkpoint]:
        """Remove what no rule keeps; return what was removed, oldest first.

        Args:
            rules: Rules to go by instead of the store's own.
            dry: Remove nothing, and return what would be removed.
        """
        with self._mutex:
            if not self._catalog.has_folder:  # it may have been cleared since
                return []
            if not dry:
                self._begin()
            saved = self.checkpoints()
            rules = self.keep if rules is None else rules
            gone = superseded(saved, rules)
            current = [checkpoint for checkpoint in saved if checkpoint not in gone]
            gone += surplus(current, rules)
            if saved and saved[-1].name not in self._whole:
                gone = self._without_the_last_whole(saved, gone)
            if not dry:
                self._remove(gone)
            return sorted(gone, key=lambda checkpoint: checkpoint.number)

    def _without_the_last_whole(
        self, saved: Sequence[Checkpoint], gone: list[Checkpoint]
    ) -> list[Checkpoint]:
        """Return what may go: not the newest one that is whole, as newer ones may be damaged."""
        for checkpoint in reversed(saved):
            if not self.verify(checkpoint):
                return [each for each in gone if each is not checkpoint]
        return gone

    def remove_damaged(self, *, dry: bool = False) -> list[Path]:
        """Remove the checkpoints that were set aside as damaged; return their folders.

        Args:
            dry: Remove nothing, and return what would be removed.
        """
        with self._mutex:
            if not self._catalog.has_folder:
                return []
            if not dry:
                self._begin()
            names = [name for name in self._disk.names(self.directory) if ASIDE.match(name)]
            for name in names if not dry else ():
                removal.remove_folder(self._disk, self.directory / name)
            return [self.directory / name for name in names]

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it."""
        with self._mutex:
            if not self._catalog.has_folder:
                return
            self._begin()
            # The newest goes last: if this is cut off, what is left is still the right one.
            self._remove(self.checkpoints())
            self._writer.previous = None
            for name in ("last.json", "best.json", LOCK):  # the lock is held until the end
                with contextlib.suppress(FileNotFoundError):
                    self._disk.remove(self.directory / name)
            with contextlib.suppress(OSError):  # something of the user's is in it
                self._disk.remove_folder(self.directory)
            self.close()

    def require_free(self) -> None:
        """Find out early whether ``save`` may write; makes nothing where nothing is.

        Raises:
            BlockingIOError: If another process writes to the folder.
        """
        with self._mutex:
            if not self._claim.held and self._catalog.has_lock:
                self._begin()
                self._claim.give_up()

    def close(self) -> None:
        """Let other processes write to the folder."""
        with self._mutex:
            self._claim.give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self) -> None:
        """Make the folder ours; what others may have replaced meanwhile is not relied on."""
        if not self._claim.take():
            return
        self._catalog.forget()
        previous = self._writer.previous
        if previous is not None and self._catalog.has(previous):
            self._whole &= {previous.checkpoint.name}
        else:
            self._writer.previous = None
            self._whole.clear()

    def _point(self, name: str, checkpoint: Checkpoint) -> None:
        """Let ``last.json`` or ``best.json`` name a checkpoint, whole or as it was."""
        content = {"checkpoint": checkpoint.name, "step": checkpoint.step}
        self._writer.replace_json(self.directory / f"{name}.json", content)

    def _remove(self, checkpoints: Sequence[Checkpoint]) -> None:
        names = [checkpoint.name for checkpoint in checkpoints]
        self._whole.difference_update(names)
        removal.remove_checkpoints(self._disk, self.directory, names)


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ConfigurationError(f"{name} must be a whole number, 0 or more; got {value!r}")
    return int(value)
