"""One process at a time writes into a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from callboard._core.fs import Disk
from callboard.checkpoint import removal
from callboard.checkpoint.names import LOCK

__all__ = ["Claim"]


class Claim:
    """The right to write into a folder, once taken.

    Args:
        directory: The folder; made when the right is first taken.
        disk: The operations on files.
    """

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk
        self._held: contextlib.ExitStack | None = None

    def take(self) -> None:
        """Keep other processes from writing; what an earlier one left half goes.

        Raises:
            BlockingIOError: If another process writes there.
        """
        if self._held is not None:
            return
        self._disk.make_folder(self._directory)
        # It may have been made by one who was killed.
        self._disk.sync_folder(self._directory.parent)
        with contextlib.ExitStack() as opening:
            opening.enter_context(self._disk.locked(self._directory / LOCK))
            removal.sweep(self._disk, self._directory)
            self._held = opening.pop_all()

    def give_up(self) -> None:
        """Let other processes write."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
