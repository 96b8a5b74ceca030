"""One consistent copy of nested state, in host memory that is used again and again."""

from __future__ import annotations

import contextlib
import mmap
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from callboard._core.fs import BLOCK
from callboard.checkpoint.dtypes import code_of
from callboard.checkpoint.filling import Filling
from callboard.checkpoint.image import FileImage, Tensor
from callboard.checkpoint.safetensors import Place, layout
from callboard.checkpoint.tree import Leaf, Source, split

__all__ = ["Buffers", "Snapshot"]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


class Snapshot(NamedTuple):
    """Nested state as it was at one moment.

    Attributes:
        text: Everything but the arrays, JSON.
        files: The arrays, a file for each key at the top of the tree that has some.
    """

    text: bytes
    files: tuple[FileImage, ...]

    def wait(self) -> None:
        """Return when all of it is in memory.

        Raises:
            AbandonedError: If it never will be.
        """
        for image in self.files:
            image.wait_for(image.size)


class _Copy(NamedTuple):
    """An array that is still to be copied."""

    leaf: Leaf
    target: np.ndarray[Any, Any]
    filling: Filling
    end: int  # of the array within its file


class _Buffer:
    """Memory of one file, laid out as the file is."""

    def __init__(self, head: bytes, places: Mapping[str, Place]) -> None:
        self.head = head
        self.places = dict(places)
        self.size = max((place.end for place in places.values()), default=len(head))
        memory = mmap.mmap(-1, -(-self.size // BLOCK) * BLOCK)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        self.whole = memoryview(memory)[: self.size]
        self.whole[: len(head)] = head
        self.arrays = {
            name: np.frombuffer(self.whole[place.begin : place.end], place.dtype).reshape(
                place.shape
            )
            for name, place in places.items()
        }


class Buffers:
    """Takes snapshots into memory that the next snapshot uses again.

    A snapshot stays what it is until the next one is taken. Arrays that are read-only and own
    their memory are taken for constants, and not copied.

    Args:
        source_of: Returns the source of a framework's array, None for anything else.
    """

    def __init__(self, source_of: Callable[[object], Source | None] = lambda _: None) -> None:
        self._source_of = source_of
        self._buffers: dict[str, _Buffer] = {}

    def prepare(self, tree: Mapping[str, Any]) -> None:
        """Have the memory for snapshots of such a tree ready, so that the first is as fast.

        The system gives out memory page by page when it is first written to, which takes several
        times as long as a copy.
        """
        _, arrays = split(tree, self._source_of)
        for group, leaves in _grouped(arrays).items():
            if group not in self._buffers and not any(map(_stays, leaves.values())):
                buffer = _Buffer(*layout(_wanted(_without_ties(leaves)[0])))
                np.frombuffer(buffer.whole, np.uint8)[len(buffer.head) :: mmap.PAGESIZE] = 0
                self._buffers[group] = buffer

    def snapshot(self, tree: Mapping[str, Any]) -> Snapshot:
        """Copy nested state.

        Args:
            tree: A dict with texts as keys; see :func:`tree.split` for what may be in it.

        Raises:
            TypeError: For what cannot be saved.
        """
        snapshot, copies = self._planned(tree)
        _do(copies)
        return snapshot

    @contextlib.contextmanager
    def taking(self, tree: Mapping[str, Any]) -> Iterator[Snapshot]:
        """Copy nested state behind the body, which hands the snapshot to a thread that writes it.

        The thread may read what ``FileImage.wait_for`` says is there. If the body or the copying
        fails, it gets an AbandonedError there.

        Example:
            >>> import threading
            >>> def write(snapshot):
            ...     for chunk in snapshot.files[0].chunks():
            ...         print(len(chunk), "bytes")
            >>> with Buffers().taking({"weights": {"w": np.ones(1000)}}) as snapshot:
            ...     thread = threading.Thread(target=write, args=(snapshot,))
            ...     thread.start()
            >>> thread.join()
            8128 bytes
        """
        snapshot, copies = self._planned(tree)
        try:
            yield snapshot
            _do(copies)
        except BaseException:
            for image in snapshot.files:
                if image.filling is not None:
                    image.filling.abandon()
            raise

    def _planned(self, tree: Mapping[str, Any]) -> tuple[Snapshot, list[_Copy]]:
        """Return a snapshot, and the copies that fill its memory."""
        text, arrays = split(tree, self._source_of)
        groups = _grouped(arrays)
        names = _file_names(groups)
        before, self._buffers = self._buffers, {}
        copies: list[_Copy] = []
        files = [
            self._image(names[group], leaves, before.get(group), group, copies)
            for group, leaves in groups.items()
        ]
        return Snapshot(text.encode(), tuple(files)), copies

    def _image(
        self,
        name: str,
        leaves: Mapping[str, Leaf],
        before: _Buffer | None,
        group: str,
        copies: list[_Copy],
    ) -> FileImage:
        unique, aliases = _without_ties(leaves)
        named = {_name_below(path): path for path in unique}
        head, places = layout(_wanted(unique))
        tensors = {short: Tensor(named[short], place) for short, place in places.items()}
        constant = {short: unique[path] for short, path in named.items() if _stays(unique[path])}
        if constant:
            parts = {
                short: _bytes_of(constant[short] if short in constant else _copied(unique[path]))
                for short, path in ((short, tensors[short].path) for short in places)
            }
            size = max((place.end for place in places.values()), default=len(head))
            return FileImage(name, size, head, tensors, aliases, parts, None)
        buffer = before
        if buffer is None or buffer.head != head or buffer.places != places:
            buffer = _Buffer(head, places)
        self._buffers[group] = buffer
        filling = Filling(buffer.size)
        copies += [  # in the order of the file, as it is written from its beginning
            _Copy(unique[named[short]], buffer.arrays[short], filling, place.end)
            for short, place in places.items()
        ]
        parts = {short: buffer.whole[p.begin : p.end] for short, p in places.items()}
        return FileImage(name, buffer.size, head, tensors, aliases, parts, buffer.whole, filling)


def _do(copies: Iterable[_Copy]) -> None:
    for leaf, target, filling, end in copies:
        _copy(leaf, target)
        filling.advance(end)


def _grouped(arrays: Mapping[str, Leaf]) -> dict[str, dict[str, Leaf]]:
    """Return the arrays of each file by path: those under one key at the top of the tree."""
    groups: dict[str, dict[str, Leaf]] = {}
    for path, leaf in arrays.items():
        groups.setdefault(path.split("/", 1)[0], {})[path] = leaf
    return groups


def _wanted(leaves: Mapping[str, Leaf]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the type and shape of each array of a file by its name there."""
    return {
        _name_below(path): (code_of(leaf.dtype), tuple(leaf.shape)) for path, leaf in leaves.items()
    }


def _without_ties(leaves: Mapping[str, Leaf]) -> tuple[dict[str, Leaf], dict[str, str]]:
    """Return the arrays, each memory once, and for the other paths to it the one it has there."""
    first: dict[object, str] = {}
    unique: dict[str, Leaf] = {}
    aliases: dict[str, str] = {}
    for path, leaf in leaves.items():
        memory = _memory(leaf)
        if memory is not None and memory in first:
            aliases[path] = first[memory]
        else:
            unique[path] = leaf
            if memory is not None:
                first[memory] = path
    return unique, aliases


def _memory(leaf: Leaf) -> object:
    if not isinstance(leaf, np.ndarray):
        return leaf.memory
    if not leaf.nbytes:
        return None
    return (leaf.ctypes.data, leaf.shape, leaf.strides, leaf.dtype.str, str(leaf.dtype))


def _stays(leaf: Leaf) -> bool:
    """Say whether an array is a constant: read-only, and no window on somebody else's memory."""
    return isinstance(leaf, np.ndarray) and leaf.flags.owndata and not leaf.flags.writeable


def _copied(leaf: Leaf) -> np.ndarray[Any, Any]:
    copy = np.empty(leaf.shape, leaf.dtype)
    _copy(leaf, copy)
    return copy


def _copy(leaf: Leaf, target: np.ndarray[Any, Any]) -> None:
    if isinstance(leaf, np.ndarray):
        np.copyto(target, leaf)
    else:
        leaf.copy_to(target)


def _bytes_of(leaf: Leaf) -> memoryview:
    array = np.ascontiguousarray(leaf)
    return array.reshape(-1).view(np.uint8).data


def _name_below(path: str) -> str:
    """Return an array's name within the file of its group."""
    return path.split("/", 1)[1] if "/" in path else path


def _file_names(groups: Mapping[str, object]) -> dict[str, str]:
    """Return a plain file name for each group."""
    names: dict[str, str] = {}
    for group in groups:
        plain = _NOT_IN_NAMES.sub("_", group).lstrip(".-")[:80] or "arrays"
        name, count = f"{plain}.safetensors", 1
        while name.lower() in {taken.lower() for taken in names.values()}:
            count += 1
            name = f"{plain}-{count}.safetensors"
        names[group] = name
    return names
