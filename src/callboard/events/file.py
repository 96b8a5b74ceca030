"""A file of records that stays whole when the disk is full."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from callboard._core import fs
from callboard._core.errors import RunStateError
from callboard.events.records import whole_records

__all__ = ["RecordFile"]

_NAME = re.compile(r"events\.out\.tfevents\.(\d{10})\.")
_LAST_NUMBER = 9_999_999_999  # one digit more would sort before all others
_count = itertools.count()


class RecordFile:
    """Gather framed records and write them to a new event file of a directory.

    The file is created with the first record. It holds whole records at all times that a writer
    can help: after a failed write it is cut back to the last whole one, and what did not fit
    stays in memory for the next attempt. If somebody removes it, another one is begun, with a
    warning. Several threads may share one.

    Args:
        directory: Where the file is created; made when needed.
        suffix: Put at the end of the file's name.
        opening: Returns the records that begin the file, given the time in seconds.
        flush_secs: Seconds between writes while records come.
        buffer_bytes: Bytes to gather before they are written.
    """

    def __init__(
        self,
        directory: Path,
        *,
        suffix: str,
        opening: Callable[[float], bytes],
        flush_secs: float,
        buffer_bytes: int,
    ) -> None:
        self.path: Path | None = None
        self.offset = 0
        self._directory = directory
        self._suffix = suffix
        self._opening = opening
        self._flush_secs = flush_secs
        self._buffer_bytes = buffer_bytes
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None
        self._closed = False
        self._buffer = bytearray()
        self._flushed_at = 0.0
        self._failed = False

    def append(self, record: bytes, now: float) -> None:
        """Take one record, after writing those before it if that is due.

        Raises:
            OSError: If they cannot be written; the record is then not taken.
            RunStateError: If the file is closed.
        """
        with self._lock:
            if self._file is None:
                self._open(now)
            # Before the record is taken: a failure then leaves no doubt about which ones were,
            # and memory does not grow while the disk is full. A clock set back counts as due.
            if (
                len(self._buffer) >= self._buffer_bytes
                or not 0.0 <= now - self._flushed_at < self._flush_secs
            ):
                self._write(now)
            self._buffer += record

    def flush(self, now: float) -> None:
        """Hand all records to the operating system."""
        with self._lock:
            self._write(now)

    def sync(self, now: float) -> None:
        """Return when all records are on the disk."""
        with self._lock:
            self._write(now)
            if self._file is not None:
                with self._naming():
                    fs.sync(self._file)

    def close(self, now: float) -> None:
        """Write what is left and close the file, whatever happens; the second call is empty."""
        with self._lock:
            self._closed = True
            reported = self._failed
            try:
                self._write(now)
            except OSError:
                if not reported:
                    raise
            finally:
                file, self._file = self._file, None
                self._buffer.clear()
                if file is not None:
                    with self._naming():
                        file.close()

    def _open(self, now: float) -> None:
        if self._closed:
            raise RunStateError(
                f"the event writer of {str(self._directory)!r} is closed; to go on, open another "
                "one on the same directory with start_step="
            )
        self._create(now)
        self._buffer += self._opening(now)

    def _create(self, now: float) -> None:
        self.path, file = _new_file(self._directory, int(now), self._suffix)
        # A buffered file would keep what the disk refused, and fail again on closing.
        self._file = cast("io.FileIO", cast("io.BufferedRandom", file).detach())
        self._flushed_at = now

    def _go_on_if_removed(self, file: io.FileIO, now: float) -> None:
        if not self._buffer or not fs.is_removed(file.fileno()):
            return
        gone = self.path
        self._create(now)
        file.close()
        if self.offset:  # the opening is not among the records that wait
            self._buffer[:0] = self._opening(now)
            self.offset = 0
        warnings.warn(
            f"the event file {str(gone)!r} was removed while it was written; what comes now goes "
            "into another one",
            RuntimeWarning,
            stacklevel=2,
        )

    def _write(self, now: float) -> None:
        """Write the buffer out; on failure keep its records from the first unwritten one on."""
        if self._file is None:
            return
        self._go_on_if_removed(self._file, now)
        records, written = bytes(self._buffer), 0
        try:
            with self._naming():
                # What Ctrl-C cut off is written again in its place, with the same bytes.
                self._file.seek(self.offset)
                while written < len(records):
                    written += self._file.write(records[written:])
        except OSError:
            self._failed = True
            written = whole_records(records, written)
            self.offset += written
            del self._buffer[:written]
            with contextlib.suppress(OSError):
                self._file.truncate(self.offset)
            raise
        self._failed = False
        self._flushed_at = now
        self.offset += written
        self._buffer.clear()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """Put the path into errors of the operating system, which knows the file by a number."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(error.errno, reason, str(self.path)) from error


def _new_file(directory: Path, second: int, suffix: str) -> tuple[Path, BinaryIO]:
    """Create a file whose name sorts behind those of all event files in the directory.

    TensorBoard reads a run's files in the order of their names, and takes what comes later for
    newer; a clock that was set back must not turn that around.
    """
    number = min(max(second, _last_number(directory) + 1), _LAST_NUMBER)
    start = f"events.out.tfevents.{number:010d}.{socket.gethostname()}.{os.getpid()}"
    while True:
        path = directory / f"{start}.{next(_count)}{suffix}"
        # Containers may share a directory, a host name and process ids.
        with contextlib.suppress(FileExistsError):
            return path, fs.create(path)


def _last_number(directory: Path) -> int:
    try:
        matches = [_NAME.match(path.name) for path in directory.iterdir()]
    except FileNotFoundError:
        return -1
    return max((int(match[1]) for match in matches if match), default=-1)
