"""Taking checkpoints away, so that each is under its name whole, or not at all."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Sequence
from pathlib import Path

from callboard._core.fs import Disk
from callboard.checkpoint.names import LEFTOVER

__all__ = ["remove_checkpoints", "remove_folder", "set_aside", "sweep"]

_IN_USE = {errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.EACCES, errno.EPERM}


def remove_checkpoints(disk: Disk, directory: Path, names: Sequence[str]) -> None:
    """Remove checkpoints in this order: each gets a name of no checkpoint, and then goes."""
    trash = []
    for name in names:
        target = directory / f".trash-{name}"
        while disk.is_folder(target):  # which could not be emptied
            target = target.with_name(f"{target.name}-")
        disk.rename(directory / name, target)
        trash.append(target)
    if trash:
        disk.sync_folder(directory)
    for folder in trash:
        _remove_if_not_in_use(disk, folder)


def remove_folder(disk: Disk, folder: Path) -> None:
    """Remove a folder with all that is in it; of a link the link alone."""
    if not disk.is_folder(folder):
        disk.remove(folder)
        return
    for name in disk.names(folder):
        remove_folder(disk, folder / name)
    disk.remove_folder(folder)


def sweep(disk: Disk, directory: Path) -> None:
    """Remove what was left half written or half removed."""
    for name in disk.names(directory):
        if LEFTOVER.fullmatch(name):
            _remove_if_not_in_use(disk, directory / name)


def _remove_if_not_in_use(disk: Disk, folder: Path) -> None:
    """Remove what is no checkpoint any more; that it cannot be removed yet is no one's failure."""
    try:
        remove_folder(disk, folder)
    except OSError as error:
        if error.errno not in _IN_USE:
            raise
        warnings.warn(
            f"{str(folder)!r} cannot be removed now ({error.strerror}); it is left to a later save",
            RuntimeWarning,
            stacklevel=2,
        )


def set_aside(disk: Disk, directory: Path, name: str) -> str:
    """Give a damaged checkpoint a name of no checkpoint, and return it."""
    other = f"damaged-{name}"
    while other in disk.names(directory):
        other += "-again"
    disk.rename(directory / name, directory / other)
    disk.sync_folder(directory)
    return other
