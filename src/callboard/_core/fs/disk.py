"""The operations on files that a checkpoint store is made of."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from callboard._core.fs.durable import make_folder, naming, sync_descriptor, sync_directory
from callboard._core.fs.lock import locked

__all__ = ["BLOCK", "Disk", "NewFile"]

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECT = getattr(os, "O_DIRECT", 0)

BLOCK = 4096
"""Bytes that memory, offsets and lengths must be multiples of, to be written past the cache."""


class NewFile(Protocol):
    """A file being written, from its beginning to its end."""

    def write(self, data: memoryview) -> None:
        """Write all of ``data`` behind what was written before."""

    def sync(self) -> None:
        """Return when the content is on the disk, not only in the system's cache."""

    def close(self) -> None:
        """Close the file."""


class Disk:
    """The operations on files that a checkpoint store is made of, each one step for a crash.

    A test may pass another one that records them, or fails.
    """

    def create(self, path: Path, *, direct: bool = False) -> NewFile:
        """Begin a new file.

        Args:
            path: The file; nothing may be there, not even a symbolic link.
            direct: Write past the system's cache where that is possible. It is several times
                faster for large files, and wants memory that begins at a multiple of ``BLOCK``.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_CLOEXEC", 0)
        if direct and _DIRECT:
            try:
                return _LocalFile(path, os.open(path, flags | _DIRECT, 0o666), direct=True)
            except OSError as error:
                if error.errno != errno.EINVAL:  # a file system without direct access
                    raise
                with contextlib.suppress(FileNotFoundError):  # some leave the empty file behind
                    path.unlink()
        return _LocalFile(path, os.open(path, flags, 0o666), direct=False)

    def open(self, path: Path) -> BinaryIO:
        """Open a file for reading; never through a symbolic link, never anything but a file."""

        def opener(name: str, flags: int) -> int:
            return os.open(name, flags | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0))

        file = open(path, "rb", opener=opener)  # noqa: SIM115 - the caller closes it
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        return file

    def head(self, path: str, size: int) -> bytes:
        """Return the first bytes of a file; as ``open`` and cheaper, for thousands of them."""
        flags = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
        try:
            return os.read(descriptor, size)
        finally:
            os.close(descriptor)

    def size(self, path: Path) -> int:
        """Return the length of a file in bytes."""
        return path.lstat().st_size

    def names(self, folder: Path) -> list[str]:
        """Return the names of everything in a folder."""
        return sorted(os.listdir(folder))  # noqa: PTH208 - a Path for each costs more than the list

    def is_folder(self, path: Path) -> bool:
        """Say whether there is a folder, and not a link to one."""
        return path.is_dir() and not path.is_symlink()

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, durably; nothing happens if it is there."""
        make_folder(path)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or folder another name; a file that had it is replaced."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name."""
        os.link(source, target, follow_symlinks=False)

    def remove(self, path: Path) -> None:
        """Remove a file, or the name of one that has several."""
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        """Remove a folder that is empty."""
        path.rmdir()

    def sync_folder(self, path: Path) -> None:
        """Return when the names in a folder are on the disk."""
        sync_directory(path)

    def locked(self, path: Path) -> AbstractContextManager[None]:
        """Hold a lock that ends with the process, so that two do not write to one folder.

        Args:
            path: A file to lock, made if needed. File systems without locks go without.

        Raises:
            BlockingIOError: If another process holds it for longer than it takes to end, or this
                process holds it already.
        """
        return locked(path)


class _LocalFile:
    """A file of this machine."""

    def __init__(self, path: Path, descriptor: int, *, direct: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self._direct = direct

    def write(self, data: memoryview) -> None:
        view = data.cast("B") if data.ndim != 1 or data.format != "B" else data
        if self._direct and len(view) % BLOCK:
            whole = len(view) - len(view) % BLOCK
            self._write(view[:whole])
            self._end_direct()
            view = view[whole:]
        self._write(view)

    def _write(self, view: memoryview) -> None:
        while len(view):
            with naming(self._path):
                try:
                    written = os.write(self._descriptor, view)
                except OSError as error:
                    if error.errno != errno.EINVAL or not self._direct:
                        raise
                    self._end_direct()  # a file system that wants larger blocks
                    continue
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            if self._direct and written % BLOCK:  # the disk filled up, or a limit was met
                self._end_direct()
            view = view[written:]

    def _end_direct(self) -> None:
        """Go on through the cache, for an end that is no whole block."""
        import fcntl  # noqa: PLC0415 - exists on Unix only, as O_DIRECT does

        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
        self._direct = False

    def sync(self) -> None:
        with naming(self._path):
            sync_descriptor(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)
