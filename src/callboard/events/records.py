"""The frame around every record of an event file, and the reader of such files.

A record is the payload's length (8 bytes), that length's checksum (4), the payload and its
checksum (4). Checksums are CRC-32C, rotated and shifted by a constant, so that a checksum that
is stored inside data does not meet itself.

Source: TensorFlow's ``tensorflow/core/lib/io/record_writer.h`` and ``core/lib/hash/crc32c.h``.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from google_crc32c import value as crc32c

from callboard._core.errors import FileFormatError

__all__ = ["framed", "read_records", "whole_records"]

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CHECKSUM.size
_FRAME_BYTES = _HEADER_BYTES + _CHECKSUM.size


def framed(payload: bytes) -> bytes:
    """Return ``payload`` as one record of an event file.

    Args:
        payload: The bytes of one serialized message.

    Returns:
        The record, 16 bytes longer than the payload.

    Example:
        >>> framed(b"loss").hex(" ", 4)
        '04000000 00000000 42455204 6c6f7373 c15ff3f2'
    """
    return _header(len(payload)) + payload + _masked_checksum(payload)


def read_records(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the payload of each whole record of an event file, oldest first.

    The end of a file whose writer was killed is no error: reading stops before a record that is
    cut off, and before one with a wrong checksum that nothing but zeros follows, which is what a
    power cut leaves.

    Args:
        path: The event file.

    Yields:
        One payload after another, each checked against its checksum.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If a record is damaged and others follow it, or the file is of
            another format.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "events.out.tfevents.0000000001.host")
        >>> _ = path.write_bytes(framed(b"first") + framed(b"second") + framed(b"third")[:-1])
        >>> list(read_records(path))
        [b'first', b'second']
    """
    with Path(path).open("rb") as file:
        while header := file.read(_HEADER_BYTES):
            if len(header) < _HEADER_BYTES:
                return
            offset = file.tell() - _HEADER_BYTES
            length = _LENGTH.unpack_from(header)[0]
            if header != _header(length):
                _reject_unless_torn(file, offset)
                return
            # Reading allocates what is asked for, and the file may end far short of it.
            if length + _CHECKSUM.size > os.fstat(file.fileno()).st_size - file.tell():
                return
            payload = file.read(length)
            if file.read(_CHECKSUM.size) != _masked_checksum(payload):
                _reject_unless_torn(file, offset)
                return
            yield payload


def whole_records(records: bytes | bytearray, end: int) -> int:
    """Return how many of the first ``end`` bytes of ``records`` are whole records.

    Args:
        records: Records one after another, beginning with the start of one.
        end: Where they are cut off, in bytes.

    Returns:
        The end of the last record that lies before ``end``, in bytes.

    Example:
        >>> whole_records(framed(b"12345678") + framed(b"cut"), 40)
        24
    """
    offset = 0
    while offset + _FRAME_BYTES <= end:
        following: int = offset + _FRAME_BYTES + _LENGTH.unpack_from(records, offset)[0]
        if following > end:
            break
        offset = following
    return offset


# Scalars with tags of one length have one header, so a run needs few of them.
@functools.lru_cache(maxsize=1024)
def _header(length: int) -> bytes:
    packed = _LENGTH.pack(length)
    return packed + _masked_checksum(packed)


def _masked_checksum(data: bytes) -> bytes:
    checksum = crc32c(data)
    return _CHECKSUM.pack(((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _reject_unless_torn(file: BinaryIO, offset: int) -> None:
    """Raise unless the rest of the file is zeros, the trace of a write that a power cut ended."""
    while block := file.read(1 << 20):
        if block.count(0) < len(block):
            raise FileFormatError(
                f"{file.name!r} is damaged: the record at byte {offset} does not match its "
                f"checksum and more data follows; the {offset} bytes before it are whole"
            )
