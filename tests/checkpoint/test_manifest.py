"""The list of a checkpoint's files, and what is refused in its place."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import DamagedCheckpointError, FileFormatError
from callboard.checkpoint import Checkpoint
from callboard.checkpoint.manifest import (
    FORMAT,
    SUMMARY_BYTES,
    FileEntry,
    Manifest,
    TensorEntry,
    digest_of,
)
from callboard.checkpoint.safetensors import Place

COUNTS = st.integers(0, 2**53)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
CODES = {"BOOL": 1, "F16": 2, "BF16": 2, "F32": 4, "I64": 8}
CHECKPOINTS = st.builds(
    Checkpoint,
    st.just("c"),
    COUNTS,
    COUNTS,
    COUNTS,
    st.dictionaries(st.text(max_size=5), FINITE, max_size=4),
    FINITE,
)


@st.composite
def tensors(draw):
    code = draw(st.sampled_from(sorted(CODES)))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    begin = draw(st.integers(0, 1000))
    end = begin + math.prod(shape) * CODES[code]
    return TensorEntry(draw(st.text(max_size=5)), Place(code, shape, begin, end), "0" * 32)


ENTRIES = st.builds(
    FileEntry,
    st.integers(10_000, 2**40),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.dictionaries(st.text(max_size=5), tensors(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True).filter(
    lambda name: name != "manifest.json"
)
MANIFESTS = st.builds(Manifest, CHECKPOINTS, st.dictionaries(NAMES, ENTRIES, max_size=3))
FULL = Manifest(
    Checkpoint("c", 3, 20, 2, {"loss": 0.5}, 1.7e9),
    {
        "state.json": FileEntry(2, digest_of(b"{}")),
        "weights.safetensors": FileEntry(
            5000,
            "1" * 32,
            {"w": TensorEntry("weights/w", Place("F32", (2, 3), 128, 152), "2" * 32)},
            {"weights/tied": "weights/w"},
        ),
    },
)


def sealed(content, body=None):
    """Return content with the digests that fit."""
    if body is None and "summary" in content:
        summary = json.dumps(content["summary"], separators=(",", ":")).encode()
        content = {key: digest_of(summary) if key == "seal" else content[key] for key in content}
    body = json.dumps(content, separators=(",", ":")).encode()[:-1] if body is None else body
    return body + b',"digest":"' + digest_of(body).encode() + b'"}\n'


def content_of(manifest):
    content = json.loads(manifest.encoded())
    del content["digest"]
    return content


# ---- there and back ------------------------------------------------------------------------------


@given(MANIFESTS)
def test_a_manifest_comes_back(manifest):
    assert Manifest.decoded(manifest.encoded(), "c") == manifest


@given(MANIFESTS)
def test_the_summary_is_read_from_the_first_bytes(manifest):
    # 4 metrics of 5 characters are far below what is read to list a checkpoint.
    assert Manifest.summary(manifest.encoded()[:SUMMARY_BYTES], "c") == manifest.checkpoint


@given(MANIFESTS)
def test_equal_manifests_are_equal_bytes_of_strict_json(manifest):
    data = manifest.encoded()
    again = Manifest.decoded(data, "c")
    assert again.encoded() == data
    assert data.endswith(b'"}\n')
    assert json.loads(data)["summary"]["format"] == FORMAT


def test_the_name_is_the_folders_and_not_the_files():
    assert Manifest.decoded(FULL.encoded(), "other").checkpoint.name == "other"
    assert b'"c"' not in FULL.encoded()


# ---- damage --------------------------------------------------------------------------------------


def test_every_bit_counts():
    data = FULL.encoded()
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(FileFormatError):
                Manifest.decoded(bytes(damaged), "c")


def test_every_beginning_is_damaged():
    data = FULL.encoded()
    for size in range(len(data)):
        with pytest.raises(DamagedCheckpointError, match="manifest of c is damaged or not whole"):
            Manifest.decoded(data[:size], "c")


@pytest.mark.parametrize("more", [b"\n", b" ", b"\0" * 512, b"{}"])
def test_bytes_behind_the_end_are_damage(more):
    with pytest.raises(DamagedCheckpointError):
        Manifest.decoded(FULL.encoded() + more, "c")


def test_a_beginning_without_a_summary_is_refused_or_is_one():
    data = FULL.encoded()
    seal = data.index(b'","files"')
    for size in range(seal):
        with pytest.raises(FileFormatError, match="manifest of c cannot be read"):
            Manifest.summary(data[:size], "c")
    assert Manifest.summary(data[:seal], "c") == FULL.checkpoint


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_refused_as_a_format(data, begins_right):
    data = b'{"summary":' * begins_right + data
    for read in (Manifest.summary, Manifest.decoded):
        with pytest.raises(FileFormatError):
            read(data, "c")


# ---- made to do harm: the digest is right --------------------------------------------------------


@pytest.mark.parametrize("version", [2, 0, "1", None, 2**70, 1.5])
def test_another_format_is_told_with_its_number(version):
    content = content_of(FULL)
    content["summary"]["format"] = version
    told = f"format {version!r}, and this version of callboard reads {FORMAT}"
    for read in (Manifest.summary, Manifest.decoded):
        with pytest.raises(FileFormatError, match=told):
            read(sealed(content), "c")


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", ".hidden", "../x", "a/b", "/etc/passwd", "a\\b", "-rf", "manifest.json"),
        *("a\0b", "a\n", "é", "C:x", "x" * 122, "weights.safetensors\n"),
    ],
    ids=repr,
)
def test_only_plain_names_are_files(name):
    content = content_of(FULL)
    content["files"][name] = content["files"]["state.json"]
    with pytest.raises(FileFormatError, match="is no name of a checkpoint's file"):
        Manifest.decoded(sealed(content), "c")


def test_a_name_twice_is_refused():
    body = FULL.encoded().rpartition(b',"digest"')[0]
    twice = body.replace(b'"state.json":', b'"x":{"size":1,"digest":""},"state.json":')
    assert Manifest.decoded(sealed(None, twice), "c").files["x"].size == 1
    with pytest.raises(FileFormatError, match="a key stands there twice"):
        Manifest.decoded(sealed(None, twice.replace(b'"x":', b'"state.json":')), "c")


@pytest.mark.parametrize("depth", [200, 100_000])
def test_deep_nesting_is_refused_by_a_format_error(depth):
    body = b'{"summary":' + b'{"a":' * depth + b"1" + b"}" * depth
    with pytest.raises(FileFormatError, match="deeper than"):
        Manifest.decoded(sealed(None, body), "c")
    with pytest.raises(FileFormatError, match="cannot be read"):
        Manifest.summary(body, "c")


HARMFUL = [None, True, -1, 2**70, 10**400, 1.5, "x", [], {}, [[]], {"a": 1}]


def paths_in(node, path=()):
    """Yield the path of everything in nested JSON."""
    if path:
        yield path
    if isinstance(node, dict | list | tuple):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths_in(value, (*path, key))


def put(content, path, value):
    *above, key = path
    for each in above:
        content = content[each]
    content[key] = value


@pytest.mark.parametrize("path", list(paths_in(content_of(FULL))), ids=str)
def test_any_value_anywhere_is_read_or_refused_as_a_format(path):
    for value in HARMFUL:
        content = content_of(FULL)
        put(content, path, value)
        for read in (Manifest.summary, Manifest.decoded):
            try:
                found = read(sealed(content), "c")
            except FileFormatError:
                continue
            summary = found if read is Manifest.summary else found.checkpoint
            for count in (summary.number, summary.step, summary.epoch):
                assert type(count) is int
                assert count >= 0


@pytest.mark.parametrize(
    "change",
    [
        {"bytes": [-8, 16]},
        {"bytes": [2**63, 2**63 + 24]},
        {"bytes": [4990, 5014]},
        {"bytes": [152, 128]},
        {"bytes": [128]},
        {"bytes": [128, 152, 160]},
        {"bytes": [128, 153]},
        {"shape": [2**33, 2**33]},
        {"shape": [2**64, 0, 1]},
        {"shape": [-2, -3]},
        {"shape": [2.0, 3.0]},
        {"shape": [True, 6]},
        {"dtype": "object"},
        {"dtype": "F64"},
        {"dtype": ["F32"]},
    ],
    ids=str,
)
def test_arrays_that_are_not_within_their_file_are_refused(change):
    content = content_of(FULL)
    content["files"]["weights.safetensors"]["tensors"]["w"].update(change)
    with pytest.raises(FileFormatError, match="the manifest of c is none of ours"):
        Manifest.decoded(sealed(content), "c")


# ---- digests -------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_a_digest_is_that_of_the_bytes_one_after_another(parts):
    assert digest_of(*parts) == digest_of(b"".join(parts))


def test_digests_do_not_change_between_versions():
    # The published value of xxh3-128 for no bytes, seed 0.
    assert digest_of() == "99aa06d3014798d86001c324468d497f"
    assert digest_of(np.zeros(3, "u1")) == digest_of(b"\0\0\0")


def test_entries_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.files["state.json"].size = 3
