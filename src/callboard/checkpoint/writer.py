"""Writing the files of a checkpoint, each of them durable on return."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from callboard._core.fs import Disk
from callboard.checkpoint.keep import Checkpoint
from callboard.checkpoint.manifest import FileEntry, Manifest, TensorEntry, digest_of
from callboard.checkpoint.names import MANIFEST, STATE
from callboard.checkpoint.snapshot import FileImage, Snapshot

__all__ = ["Writer"]

_DIRECT_FROM = 2**20  # bytes; below, the cache is faster


class Writer:
    """Writes the files of checkpoints, and takes over those that have not changed.

    Args:
        directory: The folder of the checkpoints.
        disk: The operations on files.

    Attributes:
        previous: The list of a checkpoint whose files were written or verified, or None.
    """

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk
        self.previous: Manifest | None = None

    def write(self, folder: Path, checkpoint: Checkpoint, snapshot: Snapshot) -> Manifest:
        """Write all files into an empty folder, the manifest last; its names are not synced."""
        files: dict[str, FileEntry] = {}
        for image in snapshot.files:
            entry = self._linked(folder, image)
            files[image.name] = self._written(folder, image) if entry is None else entry
        self.write_bytes(folder / STATE, snapshot.text)
        files[STATE] = FileEntry(len(snapshot.text), digest_of(snapshot.text))
        manifest = Manifest(checkpoint, files)
        self.write_bytes(folder / MANIFEST, manifest.encoded())
        return manifest

    def write_bytes(self, path: Path, data: bytes) -> None:
        """Write a new file."""
        file = self._disk.create(path)
        try:
            file.write(memoryview(data))
            file.sync()
        finally:
            file.close()

    def replace_json(self, path: Path, content: Mapping[str, object]) -> None:
        """Write a file that is, whatever happens, the new one or the old one."""
        temporary = path.with_name(f".tmp-{path.name}")
        with contextlib.suppress(FileNotFoundError):
            self._disk.remove(temporary)
        self.write_bytes(temporary, json.dumps(content).encode() + b"\n")
        self._disk.rename(temporary, path)
        self._disk.sync_folder(path.parent)

    def _linked(self, folder: Path, image: FileImage) -> FileEntry | None:
        """Take a file from the previous checkpoint if it has not changed; None if it has."""
        if self.previous is None:
            return None
        entry = self.previous.files.get(image.name)
        if entry is None or not _is_unchanged(entry, image):
            return None
        source = self._directory / self.previous.checkpoint.name / image.name
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
