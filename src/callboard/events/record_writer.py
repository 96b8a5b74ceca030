"""The life of an event file: opened with its first record, flushed, synced, closed."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsIndex

from callboard._core.errors import ConfigurationError
from callboard.events import summaries
from callboard.events.file import RecordFile
from callboard.events.hparams import session_end_value
from callboard.events.records import framed

__all__ = ["RecordWriter"]


class RecordWriter:
    """What :class:`EventWriter` is made of, without the kinds of records.

    Args:
        directory: The run's directory; it is made when needed.
        start_step: The first step that will be written; 0 for a new run.
        suffix: Put at the end of the file's name, for example ``".v2"``.
        flush_secs: Seconds between flushes while records come.
        buffer_bytes: Bytes to gather before they are written.
        clock: Seconds since the epoch, for the file's name and the time of each record.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        start_step: SupportsIndex = 0,
        suffix: str = "",
        flush_secs: float = 10.0,
        buffer_bytes: int = 128 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if Path(suffix).name != suffix:
            raise ConfigurationError(f"suffix={suffix!r} must be part of a file name, without '/'")
        if not flush_secs >= 0:
            raise ConfigurationError(f"flush_secs={flush_secs!r} must be 0 or more")
        if buffer_bytes < 1:
            raise ConfigurationError(f"buffer_bytes={buffer_bytes!r} must be 1 or more")
        summaries.session_start_event(start_step, 0.0)  # reports an impossible step now
        self._directory = Path(directory)
        self._clock = clock
        self._has_session = False
        self._file = RecordFile(
            self._directory,
            suffix=suffix,
            opening=functools.partial(_opening, start_step),
            flush_secs=flush_secs,
            buffer_bytes=buffer_bytes,
        )

    @property
    def path(self) -> Path | None:
        """The event file, or None as long as nothing has been written."""
        return self._file.path

    @property
    def offset(self) -> int:
        """Bytes of whole records that have been handed to the operating system."""
        return self._file.offset

    def flush(self) -> None:
        """Hand all records to the operating system, where readers see them.

        They then survive the end of the process, but not a power cut: see :meth:`sync`.

        Raises:
            OSError: If the file cannot be written; the error names it.
        """
        self._file.flush(self._clock())

    def sync(self) -> None:
        """Return when all records are on the disk.

        Raises:
            OSError: If the file cannot be written; the error names it.
        """
        self._file.sync(self._clock())

    def close(self, *, failed: bool = False) -> None:
        """Flush and close the file; a second call does nothing.

        Args:
            failed: What the dashboard of hyperparameters says of a run that has some. A ``with``
                block that is left by an error has failed.

        Raises:
            OSError: If records are lost because they cannot be written, unless the last attempt
                failed too and has been reported.
        """
        try:
            if self._has_session:
                self._has_session = False
                self._add(session_end_value(self._clock(), failed=failed), 0, None)
        finally:
            self._file.close(self._clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close(failed=error is not None)
        except OSError as lost:
            if error is None:
                raise
            # The error that ended the block is the one to report.
            error.add_note(f"records of an event file were lost as well: {lost}")

    def _add(self, values: bytes, step: SupportsIndex, wall_time: float | None) -> None:
        now = self._clock()
        event = summaries.summary_event(values, step, now if wall_time is None else wall_time)
        self._file.append(framed(event), now)

    def _add_graph(self, graph: bytes) -> None:
        now = self._clock()
        self._file.append(framed(summaries.graph_event(graph, 0, now)), now)


def _opening(start_step: SupportsIndex, now: float) -> bytes:
    # START stands in the first file as well: the Python loader of TensorBoard takes the first
    # one that it meets for a beginning, and drops nothing there.
    version = summaries.file_version_event(now)
    return framed(version) + framed(summaries.session_start_event(start_step, now))
