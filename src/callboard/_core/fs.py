"""Every file operation of the package goes through here.

One layer, so that the durability rules stand in one place and a test can put a simulated disk
beneath all writers. Nothing else in the package opens a file for writing, renames or syncs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["append", "create", "replacing", "sync", "writable_file"]

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def create(path: Path) -> BinaryIO:
    """Open a new file for writing and reading; its parent folders are made.

    Raises:
        FileExistsError: If there is something at ``path``, a symbolic link included.
    """
    _make_folder(path.parent)

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | _NO_FOLLOW, 0o666)

    # Not Path.open, which takes no opener. "x" is O_CREAT and O_EXCL.
    return open(path, "x+b", opener=opener)


def append(path: Path) -> BinaryIO:
    """Open a file for reading and for writing at its end; it and its parent folders are made."""
    _make_folder(path.parent)
    return path.open("a+b")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that ``path`` is either the old content or the whole new one, durably.

    The body writes to a temporary file in the same folder (its name is the file's ``name``). When
    the body ends, the file is synced, renamed to ``path``, and the folder synced; when it
    raises, the temporary file is removed and ``path`` stays as it was.

    Raises:
        IsADirectoryError: If ``path`` is a directory.
        OSError: Whatever the operating system says (disk full, no permission).

    Example:
        >>> import pathlib, tempfile
        >>> target = pathlib.Path(tempfile.mkdtemp(), "a", "model.bin")
        >>> with replacing(target) as file:
        ...     _ = file.write(b"weights")
        >>> target.read_bytes()
        b'weights'
    """
    writable_file(path)
    # 48 characters are 192 bytes at most, of the 255 that a name may have.
    temporary = path.with_name(f".{path.name[:48]}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    file = create(temporary)
    try:
        with file:
            yield file
            sync(file)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def sync(file: BinaryIO) -> None:
    """Return when the file's content is on the disk, not only in the system's cache."""
    file.flush()
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - exists on Unix only

        # fsync on macOS stops at the drive's cache.
        fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
    else:
        os.fsync(file.fileno())


def writable_file(path: Path) -> None:
    """Raise the error that writing ``path`` would meet, as far as it shows without writing.

    Raises:
        IsADirectoryError: If ``path`` is a directory.
        NotADirectoryError: If a parent of ``path`` is a file.
        PermissionError: If the nearest existing folder may not be written.
    """
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "is a directory; give the path of a file to write", str(path)
        )
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, "is a file, so nothing can be written below it", str(parent)
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, f"may not be written, so {path.name!r} cannot be saved there", str(parent)
        )


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it durably; a folder that is there costs one look."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_directory(made.parent)


def _sync_directory(path: Path) -> None:
    """Make new names in this folder durable; Windows has no such operation and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
