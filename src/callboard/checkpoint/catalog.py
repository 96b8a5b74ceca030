"""Which checkpoints a folder has, by their names and manifests."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

from callboard._core.errors import DamagedCheckpointError, FileFormatError, NoCheckpointError
from callboard._core.fs import Disk
from callboard.checkpoint import strict_json
from callboard.checkpoint.claim import Claim
from callboard.checkpoint.keep import Checkpoint
from callboard.checkpoint.manifest import SUMMARY_BYTES, Manifest
from callboard.checkpoint.names import CHECKPOINT, LOCK, MANIFEST

__all__ = ["Catalog", "is_of_the_machine"]

_OF_THE_MACHINE = {
    getattr(errno, name, None)
    for name in (
        *("EACCES", "EPERM", "EAGAIN", "EMFILE", "ENFILE", "ENOMEM", "ENOBUFS"),
        *("ESTALE", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
        *("ENOTCONN", "ECONNRESET", "ECONNABORTED", "ECONNREFUSED"),
    )
}


class Catalog:
    """The checkpoints of a folder, without a look at their arrays.

    Args:
        directory: The folder; it need not be there.
        disk: The operations on files.
        claim: The right to write there; what was read is remembered only while it is held.
    """

    def __init__(self, directory: Path, disk: Disk, claim: Claim) -> None:
        self._directory = directory
        self._disk = disk
        self._claim = claim
        self._known: dict[str, Checkpoint] = {}

    @property
    def has_folder(self) -> bool:
        """Whether the folder itself is there, or a link to it."""
        return self._all_names() is not None

    @property
    def has_lock(self) -> bool:
        """Whether a process has written there, or does."""
        return LOCK in (self._all_names() or ())

    def names(self) -> list[str]:
        """Return the names of all that are there, readable or not."""
        return [name for name in self._all_names() or () if CHECKPOINT.fullmatch(name)]

    def checkpoints(self) -> list[Checkpoint]:
        """Return those whose manifest can be read, oldest first."""
        before = self._known if self._claim.held else {}
        found = [before.get(name) or self._summary(name) for name in self.names()]
        readable = [checkpoint for checkpoint in found if checkpoint is not None]
        self._known = {checkpoint.name: checkpoint for checkpoint in readable}
        return sorted(readable, key=lambda checkpoint: checkpoint.number)

    def newest_first(self) -> list[str]:
        """Return the names of all that are there, readable or not, newest first."""
        self.checkpoints()
        return sorted(self.names(), key=self._age, reverse=True)

    def forget(self) -> None:
        """Read everything anew, as others may have written."""
        self._known = {}

    def add(self, checkpoint: Checkpoint) -> None:
        """Take note of one that was saved."""
        self._known[checkpoint.name] = checkpoint

    def manifest(self, name: str) -> Manifest:
        """Read the whole manifest of a checkpoint.

        Raises:
            NoCheckpointError: If it is not there.
            DamagedCheckpointError: If it is damaged.
            FileFormatError: If it is of a later version.
            OSError: If it cannot be read for a reason that is no damage of it.
        """
        self.require(name)
        path = self._directory / name / MANIFEST
        try:
            if self._disk.size(path) > strict_json.MAX_BYTES:
                raise DamagedCheckpointError(f"the manifest of {name} is larger than any is")
            with self._disk.open(path) as file:
                data = file.read()
        except OSError as error:
            if is_of_the_machine(error):
                raise
            raise DamagedCheckpointError(
                f"{name} has no manifest that can be read: {error.strerror or error}"
            ) from error
        return Manifest.decoded(data, name)

    def has(self, manifest: Manifest) -> bool:
        """Say whether this very checkpoint is there, and not another one under its name."""
        try:
            return self.manifest(manifest.checkpoint.name) == manifest
        except (FileFormatError, NoCheckpointError, OSError):
            return False

    def require(self, name: str) -> None:
        """Raise NoCheckpointError if there is no folder of this name."""
        if CHECKPOINT.fullmatch(name) and self._disk.is_folder(self._directory / name):
            return
        there = ", ".join(self.names()[-5:]) or "none"
        raise NoCheckpointError(
            f"there is no checkpoint {name!r} in {str(self._directory)!r}; there are: {there}"
        )

    def free_name(self, step: int) -> str:
        """Return a name for a checkpoint of this step that nothing has."""
        name, generation = f"step-{step:08d}", 1
        taken = set(self._disk.names(self._directory))
        while name in taken:
            generation += 1
            name = f"step-{step:08d}-{generation}"
        return name

    def pointed_to(self, pointer: str) -> str | None:
        """Return the name of the checkpoint that ``best.json`` or ``last.json`` names, if any."""
        try:
            with self._disk.open(self._directory / f"{pointer}.json") as file:
                found = strict_json.loads(file.read(SUMMARY_BYTES), f"{pointer}.json")["checkpoint"]
        except (FileFormatError, KeyError, OSError, TypeError):
            return None
        return found if found in self.names() else None

    def _all_names(self) -> list[str] | None:
        try:
            return self._disk.names(self._directory)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _summary(self, name: str) -> Checkpoint | None:
        try:
            # No Path: it would take longer to make than the file to read.
            head = self._disk.head(
                f"{self._directory}{os.sep}{name}{os.sep}{MANIFEST}", SUMMARY_BYTES
            )
            return Manifest.summary(head, name)
        except (FileFormatError, OSError):
            try:  # many metrics make a long summary
                return self.manifest(name).checkpoint
            except (FileFormatError, OSError, NoCheckpointError):
                return None

    def _age(self, name: str) -> tuple[float, int, int]:
        """Return what sorts by age: the number, or where that cannot be read, the step."""
        known = self._known.get(name)
        if known is not None:
            return (known.number, 0, 0)
        match = CHECKPOINT.fullmatch(name)
        step, generation = (int(part or 0) for part in match.groups()) if match else (0, 0)
        newest = max(self._known.values(), key=lambda each: each.number, default=None)
        later = newest is None or step > newest.step
        return (math.inf if later else 0, step, generation)


def is_of_the_machine(error: OSError) -> bool:
    """Say whether an error tells of rights, memory or the network, and nothing about the file.

    Example:
        >>> [is_of_the_machine(OSError(n, "")) for n in (errno.EMFILE, errno.ENOENT, errno.EIO)]
        [True, False, False]
    """
    return error.errno in _OF_THE_MACHINE
