"""Writing a checkpoint, so that it is whole and durable, or not there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from callboard._core.fs import Disk
from callboard.checkpoint.image import FileImage
from callboard.checkpoint.keep import Checkpoint
from callboard.checkpoint.manifest import FileEntry, Manifest, TensorEntry, digest_of
from callboard.checkpoint.names import MANIFEST, STATE
from callboard.checkpoint.removal import remove_folder
from callboard.checkpoint.snapshot import Snapshot

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

    def write(self, checkpoint: Checkpoint, snapshot: Snapshot) -> None:
        """Write a checkpoint: on return it is durable, after an error it is not there."""
        temporary = self._directory / f".tmp-{checkpoint.name}-{os.getpid()}"
        try:
            self._disk.make_folder(temporary)
            manifest = self._write_files(temporary, checkpoint, snapshot)
            self._disk.sync_folder(temporary)
            self._disk.rename(temporary, self._directory / checkpoint.name)
            self._disk.sync_folder(self._directory)
        except BaseException:
            with contextlib.suppress(OSError):
                remove_folder(self._disk, temporary)
            raise
        self.previous = manifest

    def replace_json(self, path: Path, content: Mapping[str, object]) -> None:
        """Write a file that is, whatever happens, the new one or the old one."""
        temporary = path.with_name(f".tmp-{path.name}")
        with contextlib.suppress(FileNotFoundError):
            self._disk.remove(temporary)
        self._write_bytes(temporary, json.dumps(content).encode() + b"\n")
        self._disk.rename(temporary, path)
        self._disk.sync_folder(path.parent)

    def _write_files(self, folder: Path, checkpoint: Checkpoint, snapshot: Snapshot) -> Manifest:
        """Write all files into an empty folder, the manifest last; its names are not synced."""
        found: dict[str, Future[FileEntry] | FileEntry] = {}
        with ThreadPoolExecutor(1, "callboard-digest") as pool:  # the disk works meanwhile
            for image in snapshot.files:
                linked = self._linked(folder, image)
                if linked is None:
                    found[image.name] = pool.submit(_entry, image, snapshot)
                    self._write_image(folder / image.name, image)
                else:
                    found[image.name] = linked
            self._write_bytes(folder / STATE, snapshot.text)
        files = {
            n: each.result() if isinstance(each, Future) else each for n, each in found.items()
        }
        files[STATE] = FileEntry(len(snapshot.text), digest_of(snapshot.text))
        manifest = Manifest(checkpoint, files)
        self._write_bytes(folder / MANIFEST, manifest.encoded())
        return manifest

    def _write_bytes(self, path: Path, data: bytes) -> None:
        file = self._disk.create(path)
        try:
            file.write(memoryview(data))
            file.sync()
        finally:
            file.close()

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

    def _write_image(self, path: Path, image: FileImage) -> None:
        file = self._disk.create(path, direct=image.size >= _DIRECT_FROM)
        try:
            for chunk in image.chunks():
                file.write(chunk)
            file.sync()
        finally:
            file.close()


def _entry(image: FileImage, snapshot: Snapshot) -> FileEntry:
    """Return a file's entry in the manifest, with the digests."""
    snapshot.wait()  # not for this file alone: training waits while others are copied
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
    if entry.aliases != image.aliases:
        return False
    for name, tensor in entry.tensors.items():
        image.wait_for(tensor.place.end)
        if digest_of(image.parts[name]) != tensor.digest:
            return False
    return True
