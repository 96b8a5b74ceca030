"""What makes content and names outlast a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["make_folder", "missing_folders", "naming", "sync", "sync_descriptor", "sync_directory"]


def sync(file: BinaryIO) -> None:
    """Return when the file's content is on the disk, not only in the system's cache."""
    file.flush()
    with naming(file.name):
        sync_descriptor(file.fileno())


@contextlib.contextmanager
def naming(path: object) -> Iterator[None]:
    """Put a path into errors of the operating system, which knows an open file by a number."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def sync_descriptor(descriptor: int) -> None:
    """Return when the content of an open file is on the disk."""
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - exists on Unix only

        # fsync on macOS stops at the drive's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it durably; a folder that is there costs one look."""
    missing = missing_folders(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_directory(made.parent)


def missing_folders(folder: Path) -> list[Path]:
    """Return what is to be made of a folder and those above it, the innermost first.

    Raises:
        FileNotFoundError: If one of them is a link to nothing, in whose place none can be made.
    """
    missing = []
    for each in (folder, *folder.parents):
        if each.exists():
            break
        if each.is_symlink():
            reason = f"is a link to {str(each.readlink())!r}, which is not there; make that folder"
            raise FileNotFoundError(errno.ENOENT, reason, str(each))
        missing.append(each)
    return missing


def sync_directory(path: Path) -> None:
    """Make new names in this folder durable; Windows has no such operation and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
