"""Locks that end with the process that holds them."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

__all__ = ["locked"]

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_PATIENCE_S = 5.0
_held: set[Path] = set()
if hasattr(os, "register_at_fork"):  # a forked process holds none of them
    os.register_at_fork(after_in_child=_held.clear)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock; what and how is said at :meth:`Disk.locked`."""
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
        _acquire(locks, descriptor, path)
        while not _is_at(descriptor, path):  # removed by its holder while we waited
            descriptor, stale = os.open(path, flags, 0o666), descriptor
            os.close(stale)
            _acquire(locks, descriptor, path)
        _held.add(resolved)
        yield
    finally:
        _held.discard(resolved)
        os.close(descriptor)


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


def _acquire(locks: ModuleType, descriptor: int, path: Path) -> None:
    # lockf, not flock: processes forked meanwhile, such as a DataLoader's workers, do not hold it.
    until = time.monotonic() + _PATIENCE_S
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
