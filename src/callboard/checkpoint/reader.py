"""Reading a checkpoint, every byte of it verified."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from callboard._core.errors import DamagedCheckpointError, FileFormatError, NoCheckpointError
from callboard._core.fs import Disk
from callboard.checkpoint import strict_json
from callboard.checkpoint.catalog import Catalog
from callboard.checkpoint.manifest import FileEntry, digest_of
from callboard.checkpoint.names import MANIFEST, STATE
from callboard.checkpoint.tree import join

__all__ = ["Reader", "Revive"]

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
            return [str(error)]
        problems = []
        for file, entry in manifest.files.items():
            try:
                self._content(name, file, entry)
            except (FileFormatError, OSError) as error:
                problems.append(str(error))
        extra = set(self._disk.names(self._directory / name)) - {*manifest.files, MANIFEST}
        problems += [f"{name} has a file {file!r} that no manifest lists" for file in sorted(extra)]
        return problems

    def newest(self, revived: Revive, only: Sequence[str]) -> tuple[str, Any, dict[str, str]]:
        """Return the newest checkpoint that is whole: its name, and what was saved.

        Returns:
            The name, the tree, and what is wrong with the newer ones, by name.

        Raises:
            NoCheckpointError: If there is none.
            DamagedCheckpointError: If all are damaged.
        """
        damaged: dict[str, str] = {}
        for name in self._catalog.newest_first():
            try:
                return name, self.tree(name, revived, only), damaged
            except (FileFormatError, NoCheckpointError) as error:
                damaged[name] = str(error)
        if not damaged:
            raise NoCheckpointError(f"there is no checkpoint in {str(self._directory)!r}")
        told = "; ".join(damaged.values())
        raise DamagedCheckpointError(
            f"all checkpoints in {str(self._directory)!r} are damaged, and were left as they are: "
            f"{told}. To begin anew, move the folder away"
        )

    def tree(self, name: str, revived: Revive, only: Sequence[str]) -> Any:
        """Return what was saved, or of its top the keys in ``only``.

        Raises:
            NoCheckpointError: If it is not there.
            DamagedCheckpointError: If it is damaged.
        """
        manifest = self._catalog.manifest(name)
        if STATE not in manifest.files:
            raise DamagedCheckpointError(f"the manifest of {name} lists no {STATE}")
        text = self._content(name, STATE, manifest.files[STATE]).tobytes()
        contents: dict[str, np.ndarray[Any, Any]] = {}
        for file, entry in manifest.files.items():
            wanted = not only or any(
                tensor.path.split("/", 1)[0] in only for tensor in entry.tensors.values()
            )
            if file != STATE and wanted:
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
            raise DamagedCheckpointError(
                f"{name}/{file} cannot be read: {error.strerror or error}"
            ) from error
        if filled != size or digest_of(content.data) != entry.digest:
            raise DamagedCheckpointError(f"{name}/{file} is damaged{_where(content, entry)}")
        return content


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
