"""Reading the scalars of event files back, whoever wrote them."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from callboard._core.errors import FileFormatError
from callboard.events.records import read_records

__all__ = ["Restart", "Scalar", "read_scalars"]

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_FORMATS = {1: "f", 2: "d"}  # types of tensors: DT_FLOAT, DT_DOUBLE


class Scalar(NamedTuple):
    """One number of an event file.

    Attributes:
        tag: Its name.
        step: The step, or the epoch, that it belongs to.
        value: The number.
        wall_time: When it was written, in seconds since 1970.
    """

    tag: str
    step: int
    value: float
    wall_time: float


class Restart(NamedTuple):
    """A writer began anew: what came before it and belongs to ``step`` or later does not count.

    Attributes:
        step: The first step that does not count.
    """

    step: int


def read_scalars(path: str | os.PathLike[str]) -> Iterator[Scalar | Restart]:
    """Yield the scalars of an event file, oldest first, and where its writer began anew.

    Scalars in all three ways of writing them are read: as a plain number (torch, callboard), and
    as a tensor with numbers or with bytes (TensorFlow 2). A truncated end is no error.

    Raises:
        FileFormatError: If the file is damaged before its end, or of another format.
        OSError: If it cannot be read.

    Example:
        >>> import pathlib, tempfile
        >>> from callboard.events import EventWriter
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with EventWriter(folder, start_step=3) as writer:
        ...     writer.add_scalar("loss", 0.5, step=3)
        >>> [read[:3] for read in read_scalars(next(folder.iterdir()))]
        [(3,), ('loss', 3, 0.5)]

    Source: ``event.proto``, ``summary.proto`` and ``tensor.proto`` of TensorFlow.
    """
    for record in read_records(path):
        try:
            yield from _of_event(record)
        except (IndexError, UnicodeDecodeError, struct.error, ValueError) as error:
            raise FileFormatError(
                f"{os.fspath(path)!r} has a record that is no event of TensorBoard"
            ) from error


def _of_event(record: bytes) -> Iterator[Scalar | Restart]:
    wall_time, step = 0.0, 0
    summaries, restarts = [], False
    for number, value in _fields(record):
        if number == 1:
            wall_time = struct.unpack("<d", value)[0]
        elif number == 2:
            step = value - (1 << 64) if value >> 63 else value
        elif number == 5:
            summaries.append(value)
        elif number == 7:
            restarts = (1, 1) in _fields(value)  # SessionLog.status is START
    if restarts:
        yield Restart(step)
    for tag, scalar in _values(summaries):
        if scalar is not None:
            yield Scalar(tag, step, scalar, wall_time)


def _values(summaries: Iterable[bytes]) -> Iterator[tuple[str, float | None]]:
    for summary in summaries:
        for number, value in _fields(summary):
            if number == 1:
                yield _of_value(value)


def _of_value(message: bytes) -> tuple[str, float | None]:
    tag, scalar = "", None
    for number, value in _fields(message):
        if number == 1:
            tag = value.decode()
        elif number == 2:
            scalar = struct.unpack("<f", value)[0]
        elif number == 8:
            scalar = _of_tensor(value)
    return tag, scalar


def _of_tensor(message: bytes) -> float | None:
    """Return a tensor's number if it is one of no dimension."""
    code, numbers = "", b""
    for number, value in _fields(message):
        if number == 1:
            code = _FORMATS.get(value, "")
        elif number == 2 and value:
            return None
        elif number in (4, 5, 6):  # tensor_content, float_val, double_val
            numbers = value
    if not code or len(numbers) != struct.calcsize(code):
        return None
    return float(struct.unpack(f"<{code}", numbers)[0])


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a message: number and value, bytes but for whole numbers."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_EIGHT, _FOUR):
            length = 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > end:
            raise IndexError("a field ends behind its message")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
