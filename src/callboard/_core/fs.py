"""Every file operation of the package goes through here.

One layer, so that the durability rules stand in one place and a test can put a simulated disk
beneath all writers. Nothing else in the package opens a file for writing, renames or syncs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol

__all__ = [
    "BLOCK",
    "Disk",
    "NewFile",
    "append",
    "create",
    "cut_back",
    "remove",
    "replacing",
    "replacing_by_path",
    "sync",
    "writable_file",
]

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECT = getattr(os, "O_DIRECT", 0)

BLOCK = 4096
"""Bytes that memory, offsets and lengths must be multiples of, to be written past the cache."""

_LOCK_PATIENCE_S = 5.0
_held: set[Path] = set()
if hasattr(os, "register_at_fork"):  # a forked process holds none of them
    os.register_at_fork(after_in_child=_held.clear)


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


def cut_back(path: Path, size: int) -> None:
    """Shorten a file to its first ``size`` bytes, durably."""
    with path.open("r+b") as file:
        file.truncate(size)
        sync(file)


def remove(path: Path) -> None:
    """Remove a file, durably."""
    path.unlink()
    _sync_directory(path.parent)


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
    _make_folder(path.parent)
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
    _sync_directory(path.parent)


def sync(file: BinaryIO) -> None:
    """Return when the file's content is on the disk, not only in the system's cache."""
    file.flush()
    with naming(file.name):
        _sync_descriptor(file.fileno())


@contextlib.contextmanager
def naming(path: object) -> Iterator[None]:
    """Put a path into errors of the operating system, which knows an open file by a number."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _sync_descriptor(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - exists on Unix only

        # fsync on macOS stops at the drive's cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


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
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        _make_folder(path)

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
        _sync_directory(path)

    @contextlib.contextmanager
    def locked(self, path: Path) -> Iterator[None]:
        """Hold a lock that ends with the process, so that two do not write to one folder.

        Args:
            path: A file to lock, made if needed. File systems without locks go without.

        Raises:
            BlockingIOError: If another process holds it for longer than it takes to end, or this
                process holds it already.
        """
        locks = _locks()
        if locks is None:
            yield
            return
        resolved = path.resolve()
        if resolved in _held:  # the system would grant it, and take it away at the first closing
            raise BlockingIOError(
                errno.EAGAIN,
                "this process writes to this folder already; close the first or use another",
                str(path.parent),
            )
        # Not closed while it is held: a second opening and closing of the file would let it go.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | _NO_FOLLOW
        descriptor = os.open(path, flags, 0o666)
        try:
            _lock(locks, descriptor, path)
            while not _is_at(descriptor, path):  # removed by its holder while we waited
                os.close(descriptor)
                descriptor = os.open(path, flags, 0o666)
                _lock(locks, descriptor, path)
            _held.add(resolved)
            yield
        finally:
            _held.discard(resolved)
            os.close(descriptor)


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
            _sync_descriptor(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _locks() -> ModuleType | None:
    try:
        import fcntl  # noqa: PLC0415 - exists on Unix only
    except ImportError:
        return None
    return fcntl


def _lock(locks: ModuleType, descriptor: int, path: Path) -> None:
    # lockf, not flock: processes forked meanwhile, such as a DataLoader's workers, do not hold it.
    until = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            locks.lockf(descriptor, locks.LOCK_EX | locks.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                return  # a file system without locks
            if time.monotonic() > until:
                raise BlockingIOError(
                    error.errno,
                    "another process writes to this folder; end it, or use another folder",
                    str(path.parent),
                ) from error
            time.sleep(0.05)
        else:
            return
