"""Writing TensorBoard event files."""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsFloat, SupportsIndex

import numpy.typing as npt

from callboard._core.errors import ConfigurationError
from callboard.events import summaries
from callboard.events.buckets import finite_buckets
from callboard.events.file import RecordFile
from callboard.events.records import framed

__all__ = ["EventWriter"]


class EventWriter:
    """Write scalars, histograms, texts and images for TensorBoard.

    One directory is one run, and each writer adds a file of its own to it. To go on with an
    interrupted run, open a new writer on the same directory with ``start_step``: TensorBoard then
    drops what earlier files hold from that step on, so that no step is shown twice. The file is
    created with the first record, so a writer that is never written to leaves nothing behind.

    Records wait in memory until ``buffer_bytes`` of them have gathered, until a record comes
    more than ``flush_secs`` after the last flush, or until :meth:`flush`, :meth:`sync` or
    :meth:`close`. There is no thread in the background: what goes wrong with the file is raised
    where the writer is called. A call that raises OSError has added nothing; the records of the
    calls before it stay in memory, the file ends with a whole record, and the next call tries
    again. Several threads may share a writer; processes may not.

    Args:
        directory: The run's directory; it is made when needed.
        start_step: The first step that will be written; 0 for a new run.
        suffix: Put at the end of the file's name, for example ``".v2"``.
        flush_secs: Seconds between flushes while records come.
        buffer_bytes: Bytes to gather before they are written.
        clock: Seconds since the epoch, for the file's name and the time of each record.

    Raises:
        ConfigurationError: If an argument is impossible.
        DataError: If ``start_step`` is no integer of 64 bits.

    Example:
        >>> import pathlib, tempfile
        >>> from callboard.events import EventWriter, read_records
        >>> directory = pathlib.Path(tempfile.mkdtemp())
        >>> with EventWriter(directory) as writer:
        ...     for step in range(3):
        ...         writer.scalar("loss", 1 / (step + 1), step)
        >>> (file,) = directory.iterdir()
        >>> len(list(read_records(file)))  # two that open every file, and three scalars
        5

    Source: the file format of TensorFlow's ``tf.summary``; the rules on names and on
    ``start_step`` are those that TensorBoard 2.21's two loaders agree on.
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
        self._clock = clock
        self._warned: set[str] = set()
        self._file = RecordFile(
            Path(directory),
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

    def scalar(
        self,
        tag: str,
        value: SupportsFloat,
        step: SupportsIndex,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Record one number; NaN and infinities are recorded as they are.

        Args:
            tag: The curve's name; ``/`` makes groups.
            value: A number, or an array or tensor of one. It is stored as float32.
            step: The place on the curve, any integer of 64 bits.
            wall_time: Seconds since the epoch; the time of the call by default.

        Raises:
            DataError: If tag, value or step is not of its kind.
            OSError: If the file cannot be written; the error names it.
            RunStateError: If the writer is closed.
        """
        self._add(summaries.scalar_value(tag, value), step, wall_time)

    def scalars(
        self,
        values: Mapping[str, SupportsFloat],
        step: SupportsIndex,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Record several numbers of one step, all of them or, if one is wrong, none.

        Args:
            values: From tag to number, each as for :meth:`scalar`.
            step: The place on every curve.
            wall_time: Seconds since the epoch; the time of the call by default.

        Raises:
            DataError: If a tag, a value or the step is not of its kind.
            OSError: If the file cannot be written; the error names it.
            RunStateError: If the writer is closed.
        """
        encoded = b"".join([summaries.scalar_value(tag, value) for tag, value in values.items()])
        if encoded:
            self._add(encoded, step, wall_time)

    def histogram(
        self,
        tag: str,
        values: npt.ArrayLike,
        step: SupportsIndex,
        *,
        wall_time: float | None = None,
    ) -> None:
        """Record how values are distributed, in 30 buckets of equal width.

        Args:
            tag: The histogram's name.
            values: Real numbers of any shape, possibly none. NaN and infinities are left out,
                with a warning once per tag.
            step: The place on the time axis.
            wall_time: Seconds since the epoch; the time of the call by default.

        Raises:
            DataError: If tag, values or step are not of their kind.
            OSError: If the file cannot be written; the error names it.
            RunStateError: If the writer is closed.

        Source: the buckets of ``tf.summary.histogram``.
        """
        buckets, left_out = finite_buckets(values)
        self._add(summaries.histogram_value(tag, buckets), step, wall_time)
        if left_out and tag not in self._warned:
            self._warned.add(tag)
            warnings.warn(
                f"histogram {tag!r} at step {step}: {left_out} values are NaN or infinite and "
                f"were left out, {int(buckets[:, 2].sum())} were counted",
                RuntimeWarning,
                stacklevel=2,
            )

    def text(
        self, tag: str, text: str, step: SupportsIndex, *, wall_time: float | None = None
    ) -> None:
        """Record a text, which TensorBoard shows as Markdown.

        Args:
            tag: The text's name.
            text: Markdown, or plain text.
            step: The place on the time axis.
            wall_time: Seconds since the epoch; the time of the call by default.

        Raises:
            DataError: If tag, text or step is not of its kind.
            OSError: If the file cannot be written; the error names it.
            RunStateError: If the writer is closed.
        """
        self._add(summaries.text_value(tag, text), step, wall_time)

    def image(
        self,
        tag: str,
        png: bytes | Sequence[bytes],
        step: SupportsIndex,
        *,
        width: int,
        height: int,
        wall_time: float | None = None,
    ) -> None:
        """Record an image, or several of one size, that are already encoded.

        Args:
            tag: The images' name.
            png: The content of a PNG file, or of several.
            step: The place on the time axis.
            width: Pixels per row of each image.
            height: Rows of each image.
            wall_time: Seconds since the epoch; the time of the call by default.

        Raises:
            DataError: If tag, image or step is not of its kind.
            OSError: If the file cannot be written; the error names it.
            RunStateError: If the writer is closed.
        """
        images = [png] if isinstance(png, bytes) else png
        self._add(summaries.image_value(tag, images, width, height), step, wall_time)

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

    def close(self) -> None:
        """Flush and close the file; a second call does nothing.

        Raises:
            OSError: If records are lost because they cannot be written, unless the last attempt
                failed too and has been reported.
        """
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
            self.close()
        except OSError as lost:
            if error is None:
                raise
            # The error that ended the block is the one to report.
            error.add_note(f"records of an event file were lost as well: {lost}")

    def _add(self, values: bytes, step: SupportsIndex, wall_time: float | None) -> None:
        now = self._clock()
        event = summaries.summary_event(values, step, now if wall_time is None else wall_time)
        self._file.append(framed(event), now)


def _opening(start_step: SupportsIndex, now: float) -> bytes:
    # START stands in the first file as well: the Python loader of TensorBoard takes the first
    # one that it meets for a beginning, and drops nothing there.
    version = summaries.file_version_event(now)
    return framed(version) + framed(summaries.session_start_event(start_step, now))
