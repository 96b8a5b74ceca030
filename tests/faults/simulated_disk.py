"""A disk in memory that knows every state a power cut may leave it in.

It promises what ext4 and xfs promise, and no more:

- What is in a file is durable when the file was synced. Until then each block of it may be lost
  (zeros), torn (its first half new) or there, and the length may be the old one, the new one or
  that of any block between.
- A name is durable when its folder was synced; syncing the file does not do it. Changes of names
  that are not durable yet survive up to any point of their order.
- After an error in syncing a file, syncing it again succeeds and saves nothing of what was lost.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from callboard._core.fs import Disk, NewFile

__all__ = ["BLOCK", "EXHAUSTIVE", "LIMIT", "Operation", "PowerCut", "SimulatedDisk"]

BLOCK = 128
"""Bytes; small, so that small files have several."""

EXHAUSTIVE = 4
"""Up to so many blocks that are not durable, every combination of their states is tried; above,
each block by itself and each two of them."""

LIMIT = 4000
"""So many states at one moment are enumerated. More are an error: none is left out."""

_ROOT = 0
_numbers = itertools.count(1)  # never given twice, not even to another disk's files


class PowerCut(BaseException):
    """The process is gone: not an Exception, as nothing may catch it and go on."""


@dataclass(frozen=True)
class Operation:
    """A step that changes or syncs something.

    Attributes:
        kind: What was done; it begins with "failed" if the disk refused.
        path: Of what.
        inode: The file written or synced, or the folder whose names change.
        data: What was written.
        names: Names in the folder with what they stand for from now on, None for nothing.
    """

    kind: str
    path: Path
    inode: int = -1
    data: bytes = b""
    names: tuple[tuple[str, int | None], ...] = ()


@dataclass
class _File:
    durable: bytes = b""
    content: bytes = b""
    given_up: bool = False  # a sync failed: the system takes the pages for clean

    def blocks(self) -> list[int]:
        """Return where the blocks begin that are not durable."""
        old = self.durable.ljust(len(self.content), b"\0")
        starts = range(0, len(self.content), BLOCK)
        return [at for at in starts if self.content[at : at + BLOCK] != old[at : at + BLOCK]]

    def lengths(self) -> list[int]:
        """Return every length it may have, the new one first."""
        between = range(0, len(self.content), BLOCK)
        shorter = [end for end in between if end > len(self.durable)]
        return [len(self.content), *shorter, len(self.durable)]

    def version(self, length: int, lost: Iterable[int] = (), torn: Iterable[int] = ()) -> bytes:
        """Return the content with these blocks lost or torn, at this length."""
        content = bytearray(self.content)
        old = self.durable.ljust(len(content), b"\0")
        for at in lost:
            content[at : at + BLOCK] = old[at : at + BLOCK]
        for at in torn:
            half = min(BLOCK, len(content) - at) // 2
            content[at + half : at + BLOCK] = old[at + half : at + BLOCK]
        return bytes(content[:length])

    def every_version(self) -> set[bytes]:
        """Return every combination."""
        versions = set()
        for length in self.lengths():
            blocks = [at for at in self.blocks() if at < length]
            for states in itertools.product(("there", "lost", "torn"), repeat=len(blocks)):
                chosen = list(zip(blocks, states, strict=True))
                lost = [at for at, state in chosen if state == "lost"]
                torn = [at for at, state in chosen if state == "torn"]
                versions.add(self.version(length, lost, torn))
        return versions

    def single_versions(self) -> set[bytes]:
        """Return all there, all lost, and each block by itself: lost, torn, alone there."""
        blocks, whole = self.blocks(), len(self.content)
        versions = {self.version(length) for length in self.lengths()}
        versions |= {self.durable, self.version(whole, lost=blocks)}
        for at in blocks:
            versions.add(self.version(whole, lost=[at]))
            versions.add(self.version(whole, torn=[at]))
            versions.add(self.version(whole, lost=[other for other in blocks if other != at]))
        return versions


@dataclass
class _Cache:
    """What the system holds at one moment, and what of it is durable."""

    files: dict[int, _File] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=lambda: {_ROOT: {}})
    durable: dict[int, dict[str, int]] = field(default_factory=lambda: {_ROOT: {}})
    pending: list[Operation] = field(default_factory=list)  # changes of names, not durable yet

    def apply(self, operation: Operation, *, ordered: bool) -> None:
        """Do an operation."""
        inode = operation.inode
        if operation.kind == "write":
            self.files[inode].content += operation.data
        elif operation.kind == "sync":
            if not self.files[inode].given_up:
                self.files[inode].durable = self.files[inode].content
        elif operation.kind == "failed sync":
            self.files[inode].given_up = True
        elif operation.kind == "damage":
            self.files[inode] = _File(operation.data, operation.data)
        elif operation.kind == "sync_folder":
            self._settle(inode, ordered=ordered)
        elif operation.names:
            self._make(operation)
            _rename(self.names[inode], operation)
            self.pending.append(operation)

    def as_durable(self) -> _Cache:
        """Return the same files and names, all of them durable."""
        files = {number: _File(file.content, file.content) for number, file in self.files.items()}
        return _Cache(files, copy.deepcopy(self.names), copy.deepcopy(self.names))

    def _make(self, operation: Operation) -> None:
        made = operation.names[0][1]
        if operation.kind == "create" and made is not None:
            self.files[made] = _File()
        elif operation.kind == "make_folder" and made is not None:
            self.names[made], self.durable[made] = {}, {}

    def _settle(self, folder: int, *, ordered: bool) -> None:
        last = max((i for i, o in enumerate(self.pending) if o.inode == folder), default=-1)
        waiting = []
        for number, operation in enumerate(self.pending):
            if operation.inode == folder or (ordered and number < last):
                _rename(self.durable[operation.inode], operation)
            else:
                waiting.append(operation)
        self.pending = waiting

    def names_found(self, *, ordered: bool) -> Iterator[dict[int, dict[str, int]]]:
        """Yield the names by folder that may be found: what is durable and some of the rest."""
        folders = [_ROOT] if ordered else sorted({each.inode for each in self.pending})
        queues = [[o for o in self.pending if ordered or o.inode == f] for f in folders]
        for counts in itertools.product(*(range(len(queue) + 1) for queue in queues)):
            names = {folder: dict(inside) for folder, inside in self.durable.items()}
            for queue, count in zip(queues, counts, strict=True):
                for operation in queue[:count]:
                    _rename(names[operation.inode], operation)
            yield names

    def contents_found(self, inodes: Iterable[int]) -> Iterator[dict[int, bytes]]:
        """Yield the contents that may be found in these files."""
        there = {inode: self.files[inode].content for inode in inodes}
        open_ = {inode: self.files[inode] for inode in there}
        open_ = {inode: file for inode, file in open_.items() if file.content != file.durable}
        if sum(len(file.blocks()) for file in open_.values()) <= EXHAUSTIVE:
            versions = [sorted(file.every_version()) for file in open_.values()]
            for chosen in itertools.product(*versions):
                yield there | dict(zip(open_, chosen, strict=True))
            return
        yield there | {inode: file.durable for inode, file in open_.items()}
        yield there | {
            i: file.version(len(file.content), file.blocks()) for i, file in open_.items()
        }
        for inode, file in open_.items():
            for content in sorted(file.single_versions()):
                yield there | {inode: content}
        blocks = [(inode, at) for inode, file in open_.items() for at in file.blocks()]
        for two in itertools.combinations(blocks, 2):
            yield there | {
                inode: open_[inode].version(len(there[inode]), [at for i, at in two if i == inode])
                for inode, _ in two
            }


def _rename(names: dict[str, int], operation: Operation) -> None:
    for name, inode in operation.names:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


class SimulatedDisk(Disk):
    """Keeps files in memory, and everything that was done to them.

    Args:
        start: A disk whose files it has from the beginning, all of them durable.
        ordered: Whether changes of names in different folders keep their order, as in a journal. If
            not, each folder has an order of its own, and is synced by itself: POSIX asks no more.
    """

    def __init__(self, start: SimulatedDisk | None = None, *, ordered: bool = True) -> None:
        self.ordered = ordered
        self.operations: list[Operation] = []
        self._start: _Cache = _Cache() if start is None else start._now.as_durable()
        self._now: _Cache = _Cache() if start is None else start._now.as_durable()
        self._errors: dict[int, OSError] = {}
        self._killed_at: int | None = None
        self._locks: set[Path] = set()

    # ---- what a store calls ----------------------------------------------------------------------

    def create(self, path: Path, *, direct: bool = False) -> NewFile:
        self._require_free(path)
        inode = self._change("create", path, (path.name, self._next_inode()))
        return _NewFile(self, path, inode)

    def open(self, path: Path) -> BinaryIO:
        return io.BytesIO(self._file(path).content)

    def head(self, path: str, size: int) -> bytes:
        return self._file(Path(path)).content[:size]

    def size(self, path: Path) -> int:
        return len(self._file(path).content)

    def names(self, folder: Path) -> list[str]:
        return sorted(self._now.names[self._folder(folder)])

    def is_folder(self, path: Path) -> bool:
        with contextlib.suppress(OSError):
            return self._inode(path) in self._now.names
        return False

    def make_folder(self, path: Path) -> None:
        missing = [each for each in (path, *path.parents) if not self._is_there(each)]
        for folder in reversed(missing):
            self._change("make_folder", folder, (folder.name, self._next_inode()))
        if not self.is_folder(path):
            raise _error(errno.EEXIST, path)
        for folder in missing:
            self.sync_folder(folder.parent)

    def rename(self, source: Path, target: Path) -> None:
        inode = self._inode(source)
        if source.parent != target.parent:
            raise NotImplementedError("renaming into another folder is not simulated")
        if self._is_there(target):
            there = self._inode(target)
            if there == inode:
                return  # POSIX: two names of one file stay
            if (there in self._now.names) != (inode in self._now.names):
                kind = errno.EISDIR if there in self._now.names else errno.ENOTDIR
                raise _error(kind, target)
            if self._now.names.get(there):
                raise _error(errno.ENOTEMPTY, target)
        self._change("rename", target, (target.name, inode), (source.name, None))

    def link(self, source: Path, target: Path) -> None:
        inode = self._inode(source)
        self._require_free(target)
        if inode not in self._now.files:
            raise _error(errno.EPERM, source)
        self._change("link", target, (target.name, inode))

    def remove(self, path: Path) -> None:
        self._file(path)
        self._change("remove", path, (path.name, None))

    def remove_folder(self, path: Path) -> None:
        if self._now.names[self._folder(path)]:
            raise _error(errno.ENOTEMPTY, path)
        self._change("remove_folder", path, (path.name, None))

    def sync_folder(self, path: Path) -> None:
        self.do(Operation("sync_folder", path, self._folder(path)))

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        if path in self._locks:
            raise _error(errno.EAGAIN, path)
        if not self._is_there(path):
            self._change("create", path, (path.name, self._next_inode()))
        self._locks.add(path)
        try:
            yield
        finally:
            self._locks.discard(path)

    # ---- what a test asks ------------------------------------------------------------------------

    def crash_states(self, at: int | None = None) -> Iterator[SimulatedDisk]:
        """Yield a disk for every state that a power cut may leave, each state once.

        Args:
            at: The power is cut after so many operations; by default after those there were.

        Raises:
            OverflowError: If there are more than ``LIMIT``.
        """
        then, seen = self._then(at), set()
        count = len(self.operations) if at is None else at
        for names in then.names_found(ordered=self.ordered):
            paths = dict(_walk(names, _ROOT, "/"))
            inodes = sorted({inode for inode in paths.values() if inode in then.files})
            for contents in then.contents_found(inodes):
                disk = self._with(names, paths, contents)
                if disk.key() not in seen:
                    seen.add(disk.key())
                    if len(seen) > LIMIT:
                        raise OverflowError(
                            f"more than {LIMIT} states after {count} operations; use smaller "
                            "files, or raise LIMIT"
                        )
                    yield disk

    def killed(self, at: int | None = None) -> SimulatedDisk:
        """Return the disk that a new process finds if only the old one was killed."""
        disk = SimulatedDisk(ordered=self.ordered)
        disk._start, disk._now = self._then(at), self._then(at)
        return disk

    def fail_at(self, number: int, error: OSError) -> None:
        """Let an operation fail; the first is number 1. Of a write, half is done."""
        self._errors[number] = error

    def kill_at(self, number: int) -> None:
        """Let the process end with an operation: it is done, and PowerCut raised by all calls."""
        self._killed_at = number

    def damage(self, path: Path, at: int) -> None:
        """Turn over a bit of what is durable, as a bad disk does."""
        content = bytearray(self._file(path).content)
        content[at] ^= 1
        self.do(Operation("damage", path, self._inode(path), bytes(content)))

    def key(self) -> frozenset[tuple[str, bytes | None, int]]:
        """Return what is equal for two disks with the same files: names, contents and links."""
        paths = sorted(_walk(self._now.names, _ROOT, "/"))
        first = {inode: number for number, (_, inode) in reversed(list(enumerate(paths)))}
        files = self._now.files
        return frozenset(
            (path, files[inode].content if inode in files else None, first[inode])
            for path, inode in paths
        )

    def inode(self, path: Path) -> int:
        """Return a number that two names of one file share."""
        return self._inode(path)

    # ---- inside ----------------------------------------------------------------------------------

    def do(self, operation: Operation) -> None:
        """Do an operation and record it, unless the process is gone or the disk refuses."""
        if self._killed_at is not None and len(self.operations) >= self._killed_at:
            raise PowerCut
        error = self._errors.pop(len(self.operations) + 1, None)
        if error is not None:
            operation = _refused(operation)
        self.operations.append(operation)
        self._now.apply(operation, ordered=self.ordered)
        if error is not None:
            raise error
        if len(self.operations) == self._killed_at:
            raise PowerCut

    def _then(self, at: int | None) -> _Cache:
        then = copy.deepcopy(self._start)
        for operation in self.operations[:at]:
            then.apply(operation, ordered=self.ordered)
        return then

    def _with(
        self, names: dict[int, dict[str, int]], paths: dict[str, int], contents: dict[int, bytes]
    ) -> SimulatedDisk:
        disk = SimulatedDisk(ordered=self.ordered)
        found = {_ROOT, *paths.values()}
        for cache in (disk._start, disk._now):
            cache.files = {inode: _File(data, data) for inode, data in contents.items()}
            for each in (cache.names, cache.durable):
                each.update({i: dict(inside) for i, inside in names.items() if i in found})
        return disk

    def _change(self, kind: str, path: Path, *names: tuple[str, int | None]) -> int:
        self.do(Operation(kind, path, self._folder(path.parent), names=names))
        return names[0][1] or -1

    def _next_inode(self) -> int:
        return next(_numbers)

    def _inode(self, path: Path) -> int:
        inode = _ROOT
        for part in path.parts[1:]:
            if inode not in self._now.names:
                raise _error(errno.ENOTDIR, path)
            if part not in self._now.names[inode]:
                raise _error(errno.ENOENT, path)
            inode = self._now.names[inode][part]
        return inode

    def _is_there(self, path: Path) -> bool:
        try:
            self._inode(path)
        except FileNotFoundError:
            return False
        return True

    def _file(self, path: Path) -> _File:
        inode = self._inode(path)
        if inode not in self._now.files:
            raise _error(errno.EISDIR, path)
        return self._now.files[inode]

    def _folder(self, path: Path) -> int:
        inode = self._inode(path)
        if inode not in self._now.names:
            raise _error(errno.ENOTDIR, path)
        return inode

    def _require_free(self, path: Path) -> None:
        self._folder(path.parent)
        if self._is_there(path):
            raise _error(errno.EEXIST, path)


class _NewFile:
    def __init__(self, disk: SimulatedDisk, path: Path, inode: int) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode

    def write(self, data: memoryview) -> None:
        self._disk.do(Operation("write", self._path, self._inode, bytes(data)))

    def sync(self) -> None:
        self._disk.do(Operation("sync", self._path, self._inode))

    def close(self) -> None:
        pass


def _refused(operation: Operation) -> Operation:
    if operation.kind == "write":
        half = operation.data[: len(operation.data) // 2]
        return Operation("write", operation.path, operation.inode, half)
    return Operation(f"failed {operation.kind}", operation.path, operation.inode)


def _walk(names: dict[int, dict[str, int]], folder: int, path: str) -> Iterator[tuple[str, int]]:
    for name, inode in names[folder].items():
        yield path + name, inode
        if inode in names:
            yield from _walk(names, inode, f"{path}{name}/")


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
