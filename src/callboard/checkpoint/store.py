"""A folder of whole, verified checkpoints."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from callboard._core.errors import (
    ConfigurationError,
    DamagedCheckpointError,
    FileFormatError,
    NoCheckpointError,
)
from callboard._core.fs import Disk
from callboard.checkpoint import strict_json
from callboard.checkpoint.keep import Best, Checkpoint, Rule, surplus
from callboard.checkpoint.manifest import (
    SUMMARY_BYTES,
    FileEntry,
    Manifest,
    TensorEntry,
    digest_of,
)
from callboard.checkpoint.snapshot import Buffers, FileImage, Snapshot
from callboard.checkpoint.tree import join

__all__ = ["CheckpointStore"]

_MANIFEST, _STATE, _LOCK = "manifest.json", "state.json", ".lock"
_NAME = re.compile(r"step-(\d{8,})(?:-(\d+))?")
_ASIDE = re.compile(r"damaged-step-\d{8,}")
_LEFTOVER = re.compile(r"\.(?:tmp|trash)-[A-Za-z0-9_.-]+")
_DIRECT_FROM = 2**20  # bytes; below, the cache is faster

Revive = Callable[[str, np.ndarray[Any, Any]], Any]


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
        self._known: dict[str, Checkpoint] = {}
        self._whole: set[str] = set()  # written or verified by this object
        self._previous: Manifest | None = None
        self._open: contextlib.ExitStack | None = None
        self._mutex = threading.RLock()

    def __repr__(self) -> str:
        return f"CheckpointStore({str(self.directory)!r})"

    # ---- reading ---------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        """Return the checkpoints there are, oldest first; their arrays are not looked at.

        One whose manifest cannot be read is left out; ``verify`` and ``load`` name it.
        """
        with self._mutex:
            names = self._names()
            known = {name: self._known.get(name) or self._summary(name) for name in names}
            self._known = {name: found for name, found in known.items() if found is not None}
            return sorted(self._known.values(), key=lambda checkpoint: checkpoint.number)

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
        try:
            with self._disk.open(self.directory / f"{name}.json") as file:
                found = strict_json.loads(file.read(SUMMARY_BYTES), f"{name}.json")["checkpoint"]
        except (FileFormatError, KeyError, OSError, TypeError):
            return None
        return found if found in self._names() else None

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
        """
        if checkpoint is not None:
            return self._tree(self.path(checkpoint).name, revived, only)
        return self.load_newest(revived=revived, only=only)[1]

    def load_newest(
        self, *, revived: Revive = lambda _, array: array, only: Sequence[str] = ()
    ) -> tuple[Checkpoint, Any]:
        """Return the newest checkpoint that is whole, with its tree; otherwise as ``load``."""
        with self._mutex:
            self.checkpoints()
            damaged: dict[str, str] = {}
            for name in sorted(self._names(), key=self._age, reverse=True):
                try:
                    tree = self._tree(name, revived, only)
                except (FileFormatError, NoCheckpointError) as error:
                    damaged[name] = str(error)
                else:
                    self._set_aside(damaged, name)
                    # Verified, so unchanged files of it may be taken over.
                    self._previous = self._manifest(name)
                    self._whole.add(name)
                    return self._previous.checkpoint, tree
        if not damaged:
            raise NoCheckpointError(f"there is no checkpoint in {str(self.directory)!r}")
        told = "; ".join(damaged.values())
        raise DamagedCheckpointError(
            f"all checkpoints in {str(self.directory)!r} are damaged, and were left as they are: "
            f"{told}. To begin anew, move the folder away"
        )

    def verify(self, checkpoint: Checkpoint | str) -> list[str]:
        """Read every byte of a checkpoint and return what is wrong with it: nothing, if whole.

        Raises:
            NoCheckpointError: If it is not there.
        """
        name = self.path(checkpoint).name
        if not _NAME.fullmatch(name) or not self._disk.is_folder(self.directory / name):
            raise self._missing(name)
        try:
            manifest = self._manifest(name)
        except (FileFormatError, OSError) as error:
            return [str(error)]
        problems = []
        for file, entry in manifest.files.items():
            try:
                self._content(name, file, entry)
            except (FileFormatError, OSError) as error:
                problems.append(str(error))
        extra = set(self._disk.names(self.directory / name)) - {*manifest.files, _MANIFEST}
        problems += [f"{name} has a file {file!r} that no manifest lists" for file in sorted(extra)]
        return problems

    def _names(self) -> list[str]:
        try:
            return [name for name in self._disk.names(self.directory) if _NAME.fullmatch(name)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _age(self, name: str) -> tuple[float, int, int]:
        """Return what sorts by age: the number, or where that cannot be read, the step."""
        known = self._known.get(name)
        if known is not None:
            return (known.number, 0, 0)
        match = _NAME.fullmatch(name)
        step, generation = (int(part or 0) for part in match.groups()) if match else (0, 0)
        newest = max(self._known.values(), key=lambda each: each.number, default=None)
        later = newest is None or step > newest.step
        return (math.inf if later else 0, step, generation)

    def _summary(self, name: str) -> Checkpoint | None:
        try:
            with self._disk.open(self.directory / name / _MANIFEST) as file:
                return Manifest.summary(file.read(SUMMARY_BYTES), name)
        except (FileFormatError, OSError):
            try:  # many metrics make a long summary
                return self._manifest(name).checkpoint
            except (FileFormatError, OSError, NoCheckpointError):
                return None

    def _manifest(self, name: str) -> Manifest:
        folder = self.directory / name
        if not _NAME.fullmatch(name) or not self._disk.is_folder(folder):
            raise self._missing(name)
        try:
            if self._disk.size(folder / _MANIFEST) > strict_json.MAX_BYTES:
                raise DamagedCheckpointError(f"the manifest of {name} is larger than any is")
            with self._disk.open(folder / _MANIFEST) as file:
                data = file.read()
        except OSError as error:
            raise DamagedCheckpointError(
                f"{name} has no manifest that can be read: {error.strerror or error}"
            ) from error
        return Manifest.decoded(data, name)

    def _missing(self, name: str) -> NoCheckpointError:
        there = ", ".join(self._names()[-5:]) or "none"
        return NoCheckpointError(
            f"there is no checkpoint {name!r} in {str(self.directory)!r}; there are: {there}"
        )

    def _tree(self, name: str, revived: Revive, only: Sequence[str]) -> Any:
        manifest = self._manifest(name)
        if _STATE not in manifest.files:
            raise DamagedCheckpointError(f"the manifest of {name} lists no {_STATE}")
        text = self._content(name, _STATE, manifest.files[_STATE]).tobytes()
        contents: dict[str, np.ndarray[Any, Any]] = {}
        for file, entry in manifest.files.items():
            wanted = not only or any(
                tensor.path.split("/", 1)[0] in only for tensor in entry.tensors.values()
            )
            if file != _STATE and wanted:
                contents[file] = self._content(name, file, entry)
        try:
            arrays: dict[str, np.ndarray[Any, Any]] = {}
            for file, content in contents.items():
                arrays |= _arrays(content, manifest.files[file])
            if only:
                parts = strict_json.loads(text, f"the state of {name}")
                text = json.dumps({key: parts[key] for key in only if key in parts}).encode()
            return join(text, arrays, revived, f"the state of {name}")
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise DamagedCheckpointError(f"the state of {name} cannot be read: {error}") from error

    def _content(self, name: str, file: str, entry: FileEntry) -> np.ndarray[Any, Any]:
        """Return the bytes of a file, verified."""
        path = self.directory / name / file
        try:
            size = self._disk.size(path)
            if size != entry.size:  # before so much memory is asked for
                raise DamagedCheckpointError(
                    f"{name}/{file} has {size} bytes, and was saved with {entry.size}"
                )
            try:
                content = np.empty(size, np.uint8)
            except MemoryError as error:
                raise DamagedCheckpointError(
                    f"{name}/{file} has {size} bytes, more than this machine has memory for"
                ) from error
            with self._disk.open(path) as opened:
                filled = 0
                while count := opened.readinto(content.data[filled:]):  # type: ignore[attr-defined] # of every file
                    filled += count
        except OSError as error:
            raise DamagedCheckpointError(
                f"{name}/{file} cannot be read: {error.strerror or error}"
            ) from error
        if filled != size or digest_of(content.data) != entry.digest:
            raise DamagedCheckpointError(f"{name}/{file} is damaged{_where(content, entry)}")
        return content

    def _set_aside(self, damaged: Mapping[str, str], instead: str) -> None:
        for name, problem in damaged.items():
            moved = ""
            # A folder that may only be read, or that another process writes to, stays as it is.
            with contextlib.suppress(OSError):
                self._begin()
                other = f"damaged-{name}"
                while other in self._disk.names(self.directory):
                    other += "-again"
                self._disk.rename(self.directory / name, self.directory / other)
                self._disk.sync_folder(self.directory)
                moved = f"It was set aside as {other!r}. "
            warnings.warn(
                f"{problem}. {moved}{instead} is used instead, from {str(self.directory)!r}",
                RuntimeWarning,
                stacklevel=4,
            )

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
            if not self._disk.is_folder(self.directory):  # someone has removed it meanwhile
                self.close()
            self._begin()
            self._sweep()
            number = 1 + max((c.number for c in self.checkpoints()), default=0)
            finite = {n: float(value) for n, value in metrics.items() if math.isfinite(value)}
            checkpoint = Checkpoint(
                self._free_name(step), number, step, epoch, finite, self._clock()
            )
            temporary = self.directory / f".tmp-{checkpoint.name}-{os.getpid()}"
            try:
                self._disk.make_folder(temporary)
                manifest = self._write_files(temporary, checkpoint, snapshot)
                self._disk.sync_folder(temporary)
                self._disk.rename(temporary, self.directory / checkpoint.name)
                self._disk.sync_folder(self.directory)
            except BaseException:
                with contextlib.suppress(OSError):
                    self._remove_folder(temporary)
                raise
            self._previous = manifest
            self._whole.add(checkpoint.name)
            self._known[checkpoint.name] = checkpoint
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
            if not dry:
                self._begin()
            saved = self.checkpoints()
            newest = {(checkpoint.step): checkpoint.name for checkpoint in saved}
            again = [c for c in saved if newest[c.step] != c.name]  # saved anew since
            current = [c for c in saved if newest[c.step] == c.name]
            gone = again + surplus(current, self.keep if rules is None else rules)
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
            if not dry:
                self._begin()
            names = [name for name in self._disk.names(self.directory) if _ASIDE.match(name)]
            for name in names if not dry else ():
                self._remove_folder(self.directory / name)
            return [self.directory / name for name in names]

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it."""
        with self._mutex:
            if not self._disk.is_folder(self.directory):
                return
            self._begin()
            # The newest goes last: if this is cut off, what is left is still the right one.
            self._remove(self.checkpoints())
            self._previous = None
            for name in ("last.json", "best.json", _LOCK):  # the lock is held until the end
                with contextlib.suppress(FileNotFoundError):
                    self._disk.remove(self.directory / name)
            with contextlib.suppress(OSError):  # something of the user's is in it
                self._disk.remove_folder(self.directory)
            self.close()

    def close(self) -> None:
        """Let other processes write to the folder."""
        with self._mutex:
            opened, self._open = self._open, None
            if opened is not None:
                opened.close()

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
        """Make the folder ours: one process writes, and what an earlier one left half goes."""
        if self._open is not None:
            return
        self._disk.make_folder(self.directory)
        self._disk.sync_folder(self.directory.parent)  # it may have been made by one who was killed
        with contextlib.ExitStack() as opening:
            opening.enter_context(self._disk.locked(self.directory / _LOCK))
            self._sweep()
            self._open = opening.pop_all()

    def _sweep(self) -> None:
        """Remove what was left half written or half removed."""
        for name in self._disk.names(self.directory):
            if _LEFTOVER.fullmatch(name):
                self._remove_folder(self.directory / name)

    def _free_name(self, step: int) -> str:
        name, generation = f"step-{step:08d}", 1
        taken = set(self._disk.names(self.directory))
        while name in taken:
            generation += 1
            name = f"step-{step:08d}-{generation}"
        return name

    def _write_files(self, folder: Path, checkpoint: Checkpoint, snapshot: Snapshot) -> Manifest:
        files: dict[str, FileEntry] = {}
        for image in snapshot.files:
            entry = self._linked(folder, image)
            files[image.name] = self._written(folder, image) if entry is None else entry
        self._write_bytes(folder / _STATE, snapshot.text)
        files[_STATE] = FileEntry(len(snapshot.text), digest_of(snapshot.text))
        manifest = Manifest(checkpoint, files)
        self._write_bytes(folder / _MANIFEST, manifest.encoded())
        return manifest

    def _linked(self, folder: Path, image: FileImage) -> FileEntry | None:
        """Take a file from the previous checkpoint if it has not changed; None if it has."""
        if self._previous is None:
            return None
        entry = self._previous.files.get(image.name)
        if entry is None or not _is_unchanged(entry, image):
            return None
        source = self.path(self._previous.checkpoint) / image.name
        try:
            if self._disk.size(source) != entry.size:
                return None
            self._disk.link(source, folder / image.name)
        except OSError:  # a file system without links, or the file is gone
            return None
        return entry

    def _written(self, folder: Path, image: FileImage) -> FileEntry:
        direct = image.size >= _DIRECT_FROM
        with contextlib.ExitStack() as ending:
            file = self._disk.create(folder / image.name, direct=direct)
            ending.callback(file.close)
            if direct:  # digests and disk at the same time
                pool = ending.enter_context(ThreadPoolExecutor(1, "callboard-digest"))
                entry = pool.submit(_entry, image).result
            else:
                entry = functools.partial(_entry, image)
            for chunk in image.chunks():
                file.write(chunk)
            file.sync()
            return entry()

    def _write_bytes(self, path: Path, data: bytes) -> None:
        file = self._disk.create(path)
        try:
            file.write(memoryview(data))
            file.sync()
        finally:
            file.close()

    def _point(self, name: str, checkpoint: Checkpoint) -> None:
        """Let ``last.json`` or ``best.json`` name a checkpoint, whole or as it was."""
        temporary = self.directory / f".tmp-{name}.json"
        with contextlib.suppress(FileNotFoundError):
            self._disk.remove(temporary)
        content = {"checkpoint": checkpoint.name, "step": checkpoint.step}
        self._write_bytes(temporary, json.dumps(content).encode() + b"\n")
        self._disk.rename(temporary, self.directory / f"{name}.json")
        self._disk.sync_folder(self.directory)

    def _remove(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Remove checkpoints: each is under its name whole, or not at all."""
        trash = []
        for checkpoint in checkpoints:
            target = self.directory / f".trash-{checkpoint.name}"
            while self._disk.is_folder(target):  # which could not be emptied
                target = target.with_name(f"{target.name}-")
            self._disk.rename(self.directory / checkpoint.name, target)
            self._known.pop(checkpoint.name, None)
            self._whole.discard(checkpoint.name)
            trash.append(target)
        if trash:
            self._disk.sync_folder(self.directory)
        for folder in trash:
            self._remove_folder(folder)

    def _remove_folder(self, folder: Path) -> None:
        """Remove a folder with all that is in it; of a link the link alone."""
        if not self._disk.is_folder(folder):
            self._disk.remove(folder)
            return
        for name in self._disk.names(folder):
            self._remove_folder(folder / name)
        self._disk.remove_folder(folder)


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ConfigurationError(f"{name} must be a whole number, 0 or more; got {value!r}")
    return int(value)


def _entry(image: FileImage) -> FileEntry:
    """Return a file's entry in the manifest, with the digests."""
    content = (image.head, *image.parts.values()) if image.whole is None else (image.whole,)
    tensors = {
        name: TensorEntry(tensor.path, tensor.place, digest_of(image.parts[name]))
        for name, tensor in image.tensors.items()
    }
    return FileEntry(image.size, digest_of(*content), tensors, image.aliases)


def _is_unchanged(entry: FileEntry, image: FileImage) -> bool:
    """Say whether a file is what it was; of one that changed mostly a single array is read."""
    then = {name: (tensor.path, tensor.place) for name, tensor in entry.tensors.items()}
    if then != {name: tuple(tensor) for name, tensor in image.tensors.items()}:
        return False
    return entry.aliases == image.aliases and all(
        digest_of(image.parts[name]) == tensor.digest for name, tensor in entry.tensors.items()
    )


def _arrays(content: np.ndarray[Any, Any], entry: FileEntry) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays of a file by their paths, in its memory."""
    arrays = {
        tensor.path: content[tensor.place.begin : tensor.place.end]
        .view(tensor.place.dtype)
        .reshape(tensor.place.shape)
        for tensor in entry.tensors.values()
    }
    for alias, path in entry.aliases.items():
        arrays[alias] = arrays[path]
    return arrays


def _where(content: np.ndarray[Any, Any], entry: FileEntry) -> str:
    """Name the arrays whose bytes are not those that were saved."""
    names = [
        name
        for name, tensor in entry.tensors.items()
        if digest_of(content.data[tensor.place.begin : tensor.place.end]) != tensor.digest
    ]
    return f" in {', '.join(map(repr, names[:3]))}{' and others' * (len(names) > 3)}" * bool(names)
