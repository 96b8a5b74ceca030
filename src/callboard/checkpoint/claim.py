"""One process at a time writes into a folder."""

from __future__ import annotations

import contextlib
import os
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
        self._process = 0

    @property
    def held(self) -> bool:
        """Whether nobody else writes into the folder; a forked process has to take it anew."""
        return self._held is not None and self._process == os.getpid()

    def take(self) -> bool:
        """Keep other processes from writing; what an earlier one left half goes.

        Returns:
            Whether it was taken now, so that others may have written before.

        Raises:
            BlockingIOError: If another process writes there.
        """
        if self.held:
            return False
        self._disk.make_folder(self._directory)
        # It may have been made by one who was killed; in a parent that may not be read, by others.
        with contextlib.suppress(PermissionError):
            self._disk.sync_folder(self._directory.parent)
        with contextlib.ExitStack() as opening:
            opening.enter_context(self._disk.locked(self._directory / LOCK))
            removal.sweep(self._disk, self._directory)
            self._held, self._process = opening.pop_all(), os.getpid()
        return True

    def give_up(self) -> None:
        """Let other processes write."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
