"""Reading a checkpoint, every byte of it verified."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from callboard._core.errors import DamagedCheckpointError, FileFormatError, NoCheckpointError
from callboard._core.fs import Disk
from callboard.checkpoint import strict_json
from callboard.checkpoint.catalog import Catalog, is_of_the_machine
from callboard.checkpoint.manifest import FileEntry, LaterFormatError, Manifest, digest_of
from callboard.checkpoint.names import MANIFEST, STATE
from callboard.checkpoint.tree import join, part_of_path

__all__ = ["Reader", "Revive"]

_ATTEMPTS = 10

Revive = Callable[[str, np.ndarray[Any, Any]], Any]
"""Returns a framework's array, given the name of the framework and a NumPy array."""


class Reader:
    """Reads checkpoints of a folder.

    Args:
        directory: The folder.
        disk: The operations on files.
        catalog: What there is in the folder.
    """

    def __init__(self, directory: Path, disk: Disk, catalog: Catalog) -> None:
        self._directory = directory
        self._disk = disk
        self._catalog = catalog

    def problems(self, name: str) -> list[str]:
        """Read every byte of a checkpoint and return what is wrong with it: nothing, if whole.

        Raises:
            NoCheckpointError: If it is not there.
        """
        self._catalog.require(name)
        try:
            manifest = self._catalog.manifest(name)
        except (FileFormatError, OSError) as error:
            self._catalog.require(name)  # one that was removed meanwhile is not damaged
            return [str(error)]
        problems = []
        for file, entry in manifest.files.items():
            try:
                self._content(name, file, entry)
            except (FileFormatError, OSError) as error:
                problems.append(str(error))
        self._catalog.require(name)
        extra = set(self._disk.names(self._directory / name)) - {*manifest.files, MANIFEST}
        problems += [f"{name} has a file {file!r} that no manifest lists" for file in sorted(extra)]
        return problems

    def newest(self, revived: Revive, only: Sequence[str]) -> tuple[Manifest, Any, dict[str, str]]:
        """Read the newest checkpoint that is whole.

        Returns:
            Its manifest, what was saved, and what is wrong with the newer ones, by name.

        Raises:
            NoCheckpointError: If there is none.
            DamagedCheckpointError: If all are damaged.
            LaterFormatError: If a later version of the library wrote the newest.
            OSError: If that cannot be read for a reason that is no damage of it.
        """
        for _ in range(_ATTEMPTS):
            damaged: dict[str, str] = {}
            for name in self._catalog.newest_first():
                try:
                    manifest, tree = self._read(name, revived, only)
                except LaterFormatError:
                    raise
                except (FileFormatError, NoCheckpointError) as error:
                    if name not in self._catalog.names():
                        break  # removed by a writer, who has a newer one
                    damaged[name] = str(error)
                else:
                    return manifest, tree, damaged
            else:
                raise self._nothing_whole(damaged)
        raise NoCheckpointError(
            f"{_ATTEMPTS} checkpoints in {str(self._directory)!r} were removed while they were "
            "read; keep more of them, such as the last 2"
        )

    def tree(self, name: str, revived: Revive, only: Sequence[str]) -> Any:
        """Return what was saved, or of its top the keys in ``only``.

        Raises:
            NoCheckpointError: If it is not there, or is removed while it is read.
            DamagedCheckpointError: If it is damaged.
        """
        return self._read(name, revived, only)[1]

    def is_damaged(self, name: str, revived: Revive, only: Sequence[str]) -> bool:
        """Say whether there is something under this name that cannot be read."""
        try:
            self._read(name, revived, only)
        except (FileFormatError, NoCheckpointError):
            return name in self._catalog.names()
        return False

    def _nothing_whole(self, damaged: Mapping[str, str]) -> Exception:
        if not damaged:
            return NoCheckpointError(f"there is no checkpoint in {str(self._directory)!r}")
        told = "; ".join(damaged.values())
        return DamagedCheckpointError(
            f"all checkpoints in {str(self._directory)!r} are damaged, and were left as they are: "
            f"{told}. To begin anew, move the folder away"
        )

    def _read(self, name: str, revived: Revive, only: Sequence[str]) -> tuple[Manifest, Any]:
        try:
            manifest = self._catalog.manifest(name)
            return manifest, self._tree(name, manifest, revived, only)
        except DamagedCheckpointError:
            self._catalog.require(name)  # one that was removed meanwhile is not damaged
            raise

    def _tree(self, name: str, manifest: Manifest, revived: Revive, only: Sequence[str]) -> Any:
        if STATE not in manifest.files:
            raise DamagedCheckpointError(f"the manifest of {name} lists no {STATE}")
        text = self._content(name, STATE, manifest.files[STATE]).tobytes()
        wanted = {part_of_path(key) for key in only}
        contents = {
            file: self._content(name, file, entry)
            for file, entry in manifest.files.items()
            if file != STATE and (not only or not wanted.isdisjoint(_tops(entry)))
        }
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
        path = self._directory / name / file
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
            if is_of_the_machine(error):
                raise
            raise DamagedCheckpointError(
                f"{name}/{file} cannot be read: {error.strerror or error}"
            ) from error
        if filled != size or digest_of(content.data) != entry.digest:
            raise DamagedCheckpointError(f"{name}/{file} is damaged{_where(content, entry)}")
        return content


def _tops(entry: FileEntry) -> set[str]:
    """Return the keys at the top of the tree that have arrays in a file."""
    return {tensor.path.split("/", 1)[0] for tensor in entry.tensors.values()}


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
