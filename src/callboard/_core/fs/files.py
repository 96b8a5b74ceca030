"""Writing single files: new, at the end, or whole in the place of an old one."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from callboard._core.fs.durable import make_folder, missing_folders, sync, sync_directory

__all__ = [
    "append",
    "create",
    "cut_back",
    "is_removed",
    "remove",
    "replacing",
    "replacing_by_path",
    "writable_file",
]

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


def create(path: Path) -> BinaryIO:
    """Open a new file for writing and reading; its parent folders are made.

    Raises:
        FileExistsError: If there is something at ``path``, a symbolic link included.
    """
    make_folder(path.parent)

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | _NO_FOLLOW, 0o666)

    # Not Path.open, which takes no opener. "x" is O_CREAT and O_EXCL.
    return open(path, "x+b", opener=opener)


def append(path: Path) -> BinaryIO:
    """Open a file for reading and for writing at its end; it and its parent folders are made."""
    make_folder(path.parent)
    return path.open("a+b")


def is_removed(descriptor: int) -> bool:
    """Say whether an open file has no name any more, so that what is written to it is lost."""
    return os.fstat(descriptor).st_nlink == 0


def cut_back(path: Path, size: int) -> None:
    """Shorten a file to its first ``size`` bytes, durably."""
    with path.open("r+b") as file:
        file.truncate(size)
        sync(file)


def remove(path: Path) -> None:
    """Remove a file, durably."""
    path.unlink()
    sync_directory(path.parent)


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
    sync_directory(path.parent)


@contextlib.contextmanager
def replacing_by_path(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a library that wants a path and not a file.

    The body gets the path of the temporary file, which has the suffixes of ``path`` and does not
    exist yet.

    Example:
        >>> import pathlib, tempfile
        >>> target = pathlib.Path(tempfile.mkdtemp(), "a", "model.weights.h5")
        >>> with replacing_by_path(target) as temporary:
        ...     _ = temporary.write_bytes(b"weights")
        >>> target.read_bytes()
        b'weights'
    """
    writable_file(path)
    make_folder(path.parent)
    # The suffixes stay at the end, as by them a library knows the format.
    temporary = path.with_name(f".{os.getpid()}-{os.urandom(4).hex()}.tmp.{path.name[-48:]}")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            sync(file)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def writable_file(path: Path) -> None:
    """Raise the error that writing ``path`` would meet, as far as it shows without writing.

    Raises:
        IsADirectoryError: If ``path`` is a directory.
        FileNotFoundError: If a parent of ``path`` is a link to nothing.
        NotADirectoryError: If a parent of ``path`` is a file.
        PermissionError: If the nearest existing folder may not be written.
    """
    if path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, "is a directory; give the path of a file to write", str(path)
        )
    parents = path.absolute().parents
    parent = parents[len(missing_folders(parents[0]))]
    if not parent.is_dir():
        raise NotADirectoryError(
            errno.ENOTDIR, "is a file, so nothing can be written below it", str(parent)
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, f"may not be written, so {path.name!r} cannot be saved there", str(parent)
        )
