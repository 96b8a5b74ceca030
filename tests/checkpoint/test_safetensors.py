import json
import struct
import sys

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from callboard import FileFormatError
from callboard.checkpoint.dtypes import code_of, dtype_of, stand_in
from callboard.checkpoint.safetensors import read_safetensors, write_safetensors

NUMPY_TYPES = [
    *("bool", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8", "<c8"),
]
ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    hnp.arrays(
        st.sampled_from([np.dtype(name) for name in NUMPY_TYPES]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    max_size=5,
)
FRESH = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
BF16 = stand_in("bfloat16", "<u2")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@FRESH
@given(ARRAYS)
def test_arrays_come_back(tmp_path, arrays):
    write_safetensors(tmp_path / "a.safetensors", arrays)
    assert_same(read_safetensors(tmp_path / "a.safetensors"), arrays)


@FRESH
@given(ARRAYS)
def test_the_safetensors_package_reads_what_is_written(tmp_path, arrays):
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "np"})
    assert_same(safetensors.numpy.load_file(tmp_path / "a.safetensors"), arrays)


@FRESH
@given(ARRAYS)
def test_what_the_safetensors_package_writes_is_read(tmp_path, arrays):
    arrays = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "a.safetensors")
    assert_same(read_safetensors(tmp_path / "a.safetensors"), arrays)


def test_torch_reads_what_is_written(tmp_path):
    pytest.importorskip("torch")
    from safetensors.torch import load_file  # noqa: PLC0415 - with torch only

    arrays = {
        "w": np.arange(6, dtype="f4").reshape(2, 3),
        "half": np.array([1.5, -2.0], "f2"),
        "brain": np.array([0x3F80, 0xC000], "<u2").view(BF16),
        "step": np.array(3),
    }
    write_safetensors(tmp_path / "a.safetensors", arrays)
    found = load_file(tmp_path / "a.safetensors")
    assert found["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["brain"].tolist() == [1.0, -2.0]
    assert str(found["brain"].dtype) == "torch.bfloat16"
    assert found["half"].tolist() == [1.5, -2.0]
    assert found["step"].item() == 3


@pytest.mark.parametrize(
    ("name", "item"), [("bfloat16", "<u2"), ("float8_e4m3fn", "u1"), ("float8_e5m2", "u1")]
)
def test_types_that_numpy_lacks_keep_their_bits_and_name(tmp_path, name, item):
    array = np.arange(8, dtype=item).reshape(2, 4).view(stand_in(name, item))
    write_safetensors(tmp_path / "a.safetensors", {"x": array})
    found = read_safetensors(tmp_path / "a.safetensors")["x"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_arrays_of_any_layout_come_back(tmp_path):
    base = np.arange(24, dtype="f4").reshape(4, 6)
    arrays = {"t": base.T, "step": base[::2, ::3], "fortran": np.asfortranarray(base)}
    write_safetensors(tmp_path / "a.safetensors", arrays)
    assert_same(read_safetensors(tmp_path / "a.safetensors"), arrays)


def test_texts_are_in_the_header(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.zeros(1)}, {"format": "pt", "note": "é"})
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "pt", "note": "é"}


def test_data_begins_at_a_multiple_of_64_and_every_array_at_one_of_its_element(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"b": np.zeros(3, "u1"), "d": np.zeros(1), "h": np.zeros(1, "f2")})
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert (8 + length) % 64 == 0
    header = json.loads(content[8 : 8 + length])
    for entry in header.values():
        assert entry["data_offsets"][0] % dtype_of(entry["dtype"]).itemsize == 0


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([None]), np.zeros(2, ">f4")])
def test_other_types_are_an_error_and_no_file(tmp_path, array):
    with pytest.raises(TypeError, match="cannot be saved; allowed are BOOL"):
        write_safetensors(tmp_path / "a.safetensors", {"x": array})
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_the_metadata_is_no_name_for_an_array(tmp_path):
    with pytest.raises(TypeError, match="__metadata__"):
        write_safetensors(tmp_path / "a.safetensors", {"__metadata__": np.zeros(1)})


@pytest.mark.parametrize("code", ["BOOL", "F32", "BF16", "F8_E5M2", "C64"])
def test_names_of_types_there_and_back(code):
    assert code_of(dtype_of(code)) == code


def test_a_type_that_is_not_known_is_a_key_error():
    with pytest.raises(KeyError):
        dtype_of("F4")


# ---- damaged and hostile files -------------------------------------------------------------------


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4,
        b"not a model at all, but long enough",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        file_of(b"{"),
        file_of(b"[]"),
        file_of(b"\xff\xfe"),
        file_of({"x": entry()}),  # no data
        file_of({"x": entry()}, b"\0" * 5),  # too much
        file_of({"x": entry(shape=(2,))}, b"\0" * 4),
        file_of({"x": entry(offsets=(4, 8))}, b"\0" * 8),  # a hole
        file_of({"x": entry(), "y": entry()}, b"\0" * 4),  # one over the other
        file_of({"x": entry(offsets=(-4, 0))}, b"\0" * 4),
        file_of({"x": entry(shape=(2**62, 2**62))}, b"\0" * 4),
        file_of({"x": entry(dtype="PICKLE")}, b"\0" * 4),
        file_of({"x": entry(dtype="F8_E8M0", shape=(4,))}, b"\0" * 4),  # known to others
        file_of({"x": {"dtype": "F32"}}, b"\0" * 4),
    ],
)
def test_what_is_no_whole_file_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"a\.safetensors' is not a whole safetensors file"):
        read_safetensors(path)


@given(cut=st.integers(0, 10_000))
@FRESH
def test_a_file_that_was_cut_is_never_read(tmp_path, cut):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.arange(20.0), "y": np.arange(3)})
    content = path.read_bytes()
    path.write_bytes(content[: cut % len(content)])
    with pytest.raises(FileFormatError):
        read_safetensors(path)


@FRESH
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_damaged_header_is_an_error_or_changes_nothing_but_names_and_types(
    tmp_path, position, flip
):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.arange(20.0)})
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flip
    path.write_bytes(content)
    try:
        found = read_safetensors(path)
    except FileFormatError:
        return
    assert sum(array.nbytes for array in found.values()) == 160


def test_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_safetensors(tmp_path / "missing.safetensors")
    with pytest.raises(IsADirectoryError if sys.platform != "win32" else PermissionError):
        read_safetensors(tmp_path)


def test_on_a_full_disk_the_file_before_is_whole(full_disk, tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": np.zeros(3)})
    said = full_disk(
        "import numpy as np\n"
        "from callboard.checkpoint.safetensors import write_safetensors\n"
        "write_safetensors(folder / 'a.safetensors', {'x': np.zeros(10_000)})\n"
    )
    assert said == "OSError 27"
    assert_same(read_safetensors(path), {"x": np.zeros(3)})
