"""A disk in memory that knows every state a power cut may leave it in."""

import contextlib
import errno
import io
from dataclasses import dataclass, field
from pathlib import Path

from callboard._core.fs import Disk

BLOCK = 64  # bytes; small, so that small files have several


class PowerCut(BaseException):
    """The process is gone from here on."""


@dataclass
class Inode:
    """The content of a file: what is durable, and what the system may still hold back."""

    durable: bytes = b""
    content: bytes = b""

    def states(self):
        """Return the contents that may be found after a power cut."""
        if self.content == self.durable:
            return [self.content]
        old = self.durable.ljust(len(self.content), b"\0")  # the length may come before the data
        found = [self.durable, self.content, old]
        blocks = range(0, len(self.content), BLOCK)
        for at in blocks:
            end = min(at + BLOCK, len(self.content))
            half = (at + end) // 2
            if self.content[at:end] != old[at:end]:
                found += [
                    self.content[:at] + old[at:end] + self.content[end:],  # this one is lost
                    old[:at] + self.content[at:end] + old[end:],  # this one alone is there
                    self.content[:half] + old[half:end] + self.content[end:],  # this one is torn
                    self.content[:end],  # the length did not get further
                ]
        return list(dict.fromkeys(found))


@dataclass
class Change:
    """A change of names: what it does to a dict of them, and in which folders."""

    folders: tuple[str, ...]
    apply: object = field(repr=False)


class SimulatedDisk(Disk):
    """Keeps files in memory, and the order in which names and data become durable.

    As ext4 and xfs do it: data is durable when its file was synced; names become durable in the
    order in which they were changed, at the latest when a folder with a later change was synced.

    Args:
        tree: Inode by path, None for a folder; all of it durable.
    """

    def __init__(self, tree=None):
        self.start = dict(tree or {"/": None})
        self.tree = dict(self.start)
        self.changes = []
        self.floor = 0  # so many changes of names are durable
        self.operations = 0
        self.cut_after = None
        self.fail_with = {}
        self.is_off = False

    # ---- what a store calls ----------------------------------------------------------------------

    def create(self, path, *, direct=False):
        self._require_folder(path.parent)
        if str(path) in self.tree:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        inode = Inode()
        self._change((path.parent,), lambda names: names.__setitem__(str(path), inode))
        return _File(self, inode)

    def open(self, path):
        inode = self.tree.get(str(path), False)
        if inode is False:
            raise FileNotFoundError(errno.ENOENT, "is not there", str(path))
        if inode is None:
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
        return io.BytesIO(inode.content)

    def size(self, path):
        return len(self.open(path).getvalue())

    def names(self, folder):
        if not self.is_folder(folder):
            raise FileNotFoundError(errno.ENOENT, "is not there", str(folder))
        inside = (Path(name) for name in self.tree if name != "/")
        return sorted(path.name for path in inside if path.parent == folder)

    def make_folder(self, path):
        for folder in reversed((path, *path.parents)):
            if str(folder) not in self.tree:
                self._change((folder.parent,), _adding(str(folder)))
                self.sync_folder(folder.parent)

    def is_folder(self, path):
        return self.tree.get(str(path), False) is None

    def rename(self, source, target):
        if str(source) not in self.tree:
            raise FileNotFoundError(errno.ENOENT, "is not there", str(source))
        if self.is_folder(target) and self.names(target):
            raise OSError(errno.ENOTEMPTY, "is not empty", str(target))
        self._change((source.parent, target.parent), _renaming(str(source), str(target)))

    def link(self, source, target):
        inode = self.tree[str(source)]
        self._change((target.parent,), lambda names: names.__setitem__(str(target), inode))

    def remove(self, path):
        if self.tree.get(str(path)) is None:
            raise FileNotFoundError(errno.ENOENT, "is no file", str(path))
        self._change((path.parent,), lambda names: names.pop(str(path)))

    def remove_folder(self, path):
        if self.names(path):
            raise OSError(errno.ENOTEMPTY, "is not empty", str(path))
        self._change((path.parent,), lambda names: names.pop(str(path)))

    def sync_folder(self, path):
        self._require_power()
        for number in range(len(self.changes), self.floor, -1):
            if str(path) in self.changes[number - 1].folders:
                self.floor = number
                break
        self._did("sync_folder")

    @contextlib.contextmanager
    def locked(self, path):
        yield

    # ---- what a test asks ------------------------------------------------------------------------

    def key(self):
        """Return what is equal for disks with the same names and contents."""
        return frozenset(
            (path, None if inode is None else inode.content) for path, inode in self.tree.items()
        )

    def crash_states(self):
        """Yield a disk for every state that a power cut may leave now."""
        names = dict(self.start)
        for change in self.changes[: self.floor]:
            change.apply(names)
        seen = set()
        for number in range(self.floor, len(self.changes) + 1):
            if number > self.floor:
                self.changes[number - 1].apply(names)
            for contents in self._contents(names):
                key = frozenset(
                    (path, None if inode is None else contents[id(inode)])
                    for path, inode in names.items()
                )
                if key not in seen:
                    seen.add(key)
                    fresh = {n: Inode(c, c) for n, c in contents.items()}
                    yield SimulatedDisk(
                        {p: None if i is None else fresh[id(i)] for p, i in names.items()}
                    )

    @staticmethod
    def _contents(names):
        """Yield contents by inode: all there, all lost, and each state of each file by itself."""
        inodes = {id(inode): inode for inode in names.values() if inode is not None}
        states = {number: inode.states() for number, inode in inodes.items()}
        there = {number: inode.content for number, inode in inodes.items()}
        yield there
        yield {number: inode.durable for number, inode in inodes.items()}
        for number, several in states.items():
            for content in several:
                yield {**there, number: content}

    def _require_folder(self, path):
        if not self.is_folder(path):
            raise FileNotFoundError(errno.ENOENT, "is no folder", str(path))

    def _change(self, folders, apply):
        self._require_power()
        self.changes.append(Change(tuple(map(str, folders)), apply))
        apply(self.tree)
        self._did("change")

    def _require_power(self):
        if self.is_off:
            raise PowerCut("the process is gone")

    def _did(self, what):
        self.operations += 1
        error = self.fail_with.pop(self.operations, None)
        if error is not None:
            raise error
        if self.cut_after is not None and self.operations >= self.cut_after:
            self.is_off = True
            raise PowerCut(what)


class _File:
    def __init__(self, disk, inode):
        self._disk = disk
        self._inode = inode

    def write(self, data):
        view = bytes(data)
        for at in range(0, max(len(view), 1), 3 * BLOCK):  # the system may take it piece by piece
            self._disk._require_power()
            self._inode.content += view[at : at + 3 * BLOCK]
            self._disk._did("write")

    def sync(self):
        self._disk._require_power()
        self._inode.durable = self._inode.content
        self._disk._did("sync")

    def close(self):
        pass


def _adding(folder):
    def apply(names):
        names[folder] = None

    return apply


def _renaming(source, target):
    def apply(names):
        names.pop(target, None)
        moved = [name for name in names if name == source or name.startswith(f"{source}/")]
        for name in moved:
            names[target + name[len(source) :]] = names.pop(name)

    return apply
