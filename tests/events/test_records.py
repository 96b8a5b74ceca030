import os
import struct

import pytest
from google_crc32c import value as crc32c
from hypothesis import given
from hypothesis import strategies as st

from callboard._core.errors import FileFormatError
from callboard.events import read_records
from callboard.events.records import framed, whole_records

PAYLOADS = [b"first", b"", b"third" * 100]
WHOLE = b"".join(framed(payload) for payload in PAYLOADS)


def masked(data: bytes) -> bytes:
    checksum = crc32c(data)
    rotated = ((checksum >> 15) | (checksum << 17)) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def read(path, content: bytes) -> list[bytes]:
    path.write_bytes(content)
    return list(read_records(path))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.out.tfevents.0000000001.host"


def test_a_known_record_has_the_bytes_that_tensorflow_writes():
    # The first record of every event file with version 2, at time 0.
    payload = b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2"
    length = b"\x18" + bytes(7)
    assert framed(payload) == length + b"\xa3\x7f\x4b\x22" + payload + masked(payload)


@given(st.binary(max_size=300))
def test_a_record_is_length_payload_and_two_checksums(payload):
    length = struct.pack("<Q", len(payload))
    assert framed(payload) == length + masked(length) + payload + masked(payload)


def test_reading_returns_what_was_framed(path):
    assert read(path, WHOLE) == PAYLOADS
    assert read(path, b"") == []


def test_a_path_may_be_a_string(path):
    path.write_bytes(WHOLE)
    assert list(read_records(os.fspath(path))) == PAYLOADS


def test_reading_stops_before_a_record_that_is_cut_off_anywhere(path):
    start = len(framed(PAYLOADS[0]) + framed(PAYLOADS[1]))
    for end in range(start, len(WHOLE)):
        assert read(path, WHOLE[:end]) == PAYLOADS[:2], end


def test_reading_stops_before_zeros_that_a_power_cut_left(path):
    third = len(WHOLE) - len(framed(PAYLOADS[2]))
    for end in (third, third + 5, third + 12, third + 30, len(WHOLE) - 1):
        assert read(path, WHOLE[:end] + bytes(3000)) == PAYLOADS[:2], end


def test_reading_stops_before_a_last_record_with_a_wrong_checksum(path):
    assert read(path, WHOLE[:-1] + b"?") == PAYLOADS[:2]


def test_damage_in_the_middle_is_an_error_that_names_file_and_place(path):
    start = len(framed(PAYLOADS[0]))
    for at in (0, 9, 13, 18):
        damaged = bytearray(WHOLE)
        damaged[at] ^= 1
        with pytest.raises(FileFormatError, match=r"tfevents.*record at byte 0 "):
            read(path, bytes(damaged))
    damaged = bytearray(WHOLE)
    damaged[start + 14] ^= 1
    with pytest.raises(FileFormatError, match=f"record at byte {start} .* {start} bytes before"):
        read(path, bytes(damaged))


def test_a_file_of_another_format_is_an_error(path):
    with pytest.raises(FileFormatError):
        read(path, b"epoch,loss\n0,0.5\n1,0.25\n")


def test_a_length_beyond_the_end_of_the_file_reads_nothing(path):
    length = struct.pack("<Q", 2**62)
    assert read(path, WHOLE + length + masked(length) + b"x" * 50) == PAYLOADS


def test_a_missing_file_is_an_error(path):
    with pytest.raises(FileNotFoundError):
        list(read_records(path))


@given(st.lists(st.binary(max_size=20), max_size=5), st.data())
def test_whole_records_end_at_the_last_boundary_before_the_cut(payloads, data):
    records = [framed(payload) for payload in payloads]
    boundaries = [sum(map(len, records[:n])) for n in range(len(records) + 1)]
    end = data.draw(st.integers(0, boundaries[-1]))
    assert whole_records(b"".join(records), end) == max(b for b in boundaries if b <= end)
