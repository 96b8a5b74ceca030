"""Copies of state in memory that is used again."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from callboard.checkpoint.dtypes import stand_in
from callboard.checkpoint.snapshot import Buffers

BF16 = stand_in("bfloat16", "<u2")
ARRAYS = st.dictionaries(
    st.text("ab./%é", min_size=1, max_size=4),
    hnp.arrays(
        st.sampled_from([np.dtype(code) for code in ("bool", "u1", "<f2", "<f4", "<i8", "<c8")]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    min_size=1,
    max_size=6,
)


def content(image):
    return b"".join(bytes(chunk) for chunk in image.chunks())


def address(image):
    return np.frombuffer(image.whole, np.uint8).ctypes.data


def test_a_snapshot_is_not_changed_by_what_comes_after():
    array = np.zeros(100)
    image = Buffers().snapshot({"weights": {"w": array}}).files[0]
    before = content(image)
    array += 1
    assert content(image) == before


def test_memory_is_used_again_and_lies_at_a_block():
    buffers, array = Buffers(), np.zeros(1000)
    first = buffers.snapshot({"weights": {"w": array}}).files[0]
    where = address(first)
    array += 1
    second = buffers.snapshot({"weights": {"w": array}}).files[0]
    assert address(second) == where
    assert where % 4096 == 0
    larger = buffers.snapshot({"weights": {"w": np.zeros(2000)}}).files[0]
    assert larger.size > second.size


def test_memory_can_be_got_before():
    buffers, tree = Buffers(), {"weights": {"w": np.arange(5000.0)}, "n": 1}
    buffers.prepare(tree)
    where = {group: buffer.whole for group, buffer in buffers._buffers.items()}
    image = buffers.snapshot(tree).files[0]
    assert image.whole is where["weights"]
    assert content(image) == content(Buffers().snapshot(tree).files[0])


def test_a_second_snapshot_takes_no_more_memory():
    buffers, tree = (
        Buffers(),
        {"weights": {"w": np.ones(50_000)}, "optimizer": {"m": np.ones(50_000)}},
    )
    for _ in range(3):
        files = buffers.snapshot(tree).files
    held = sum(len(buffer.whole) for buffer in buffers._buffers.values())
    assert held == sum(image.size for image in files) < 801_000  # one copy of 800 kB


def test_constants_are_not_copied_and_the_file_is_the_same():
    array = np.arange(10_000.0)
    copied = Buffers().snapshot({"best": {"w": array, "v": array[:3]}}).files[0]
    array.flags.writeable = False
    lent = Buffers().snapshot({"best": {"w": array, "v": array[:3]}}).files[0]
    assert content(lent) == content(copied)
    assert np.shares_memory(np.frombuffer(lent.parts["w"], np.uint8), array)
    assert lent.whole is None


def test_chunks_are_of_whole_blocks(monkeypatch):
    monkeypatch.setattr("callboard.checkpoint.image._CHUNK", 8192)
    array = np.arange(5000.0)
    array.flags.writeable = False
    for tree in ({"a": {"w": array}}, {"a": {"w": array.copy()}}):
        image = Buffers().snapshot(tree).files[0]
        sizes = [len(chunk) for chunk in image.chunks()]
        assert sum(sizes) == image.size
        assert all(size == 8192 for size in sizes[:-1])


# ---- the same file by every path -----------------------------------------------------------------


def constants(arrays):
    """Return copies that are read-only, and own their memory."""
    copies = {name: array.copy() for name, array in arrays.items()}
    for copy in copies.values():
        copy.flags.writeable = False
    return copies


@settings(max_examples=50)
@given(ARRAYS)
def test_a_file_is_the_same_copied_lent_and_mixed(arrays):
    first = next(iter(arrays))
    images = [
        Buffers().snapshot({"w": tree}).files[0]
        for tree in (arrays, constants(arrays), {**arrays, first: constants(arrays)[first]})
    ]
    assert content(images[0]) == content(images[1]) == content(images[2])
    assert [image.tensors for image in images] == [images[0].tensors] * 3


@settings(max_examples=50)
@given(ARRAYS)
def test_a_file_is_read_by_the_safetensors_package_and_its_parts_are_the_arrays(arrays):
    image = Buffers().snapshot({"w": arrays}).files[0]
    read = safetensors.numpy.load(content(image))
    assert len(read) == len(arrays)
    for name, (path, place) in image.tensors.items():
        assert path == f"w/{name}"
        assert bytes(image.parts[name]) == content(image)[place.begin : place.end]
        assert read[name].tobytes() == bytes(image.parts[name])
        assert (read[name].dtype, read[name].shape) == (place.dtype, place.shape)
    assert sorted(array.tobytes() for array in read.values()) == sorted(
        array.tobytes() for array in arrays.values()
    )


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(4, 6).T,
        np.asfortranarray(np.arange(24.0).reshape(4, 6)),
        np.arange(24.0)[::-2],
        np.broadcast_to(np.float32(3), (3, 4)),
        np.arange(9, dtype="<u2").view(BF16)[1::2],
        np.zeros((0, 5)),
        np.array(7),
    ],
    ids=["transposed", "fortran", "backwards", "broadcast", "bfloat16", "empty", "0-d"],
)
def test_arrays_of_any_layout_are_written_in_the_order_of_c(array):
    before = array.copy()
    for each in (array, constants({"w": array})["w"]):
        image = Buffers().snapshot({"w": {"w": each}}).files[0]
        assert bytes(image.parts["w"]) == before.tobytes()
        assert image.tensors["w"].place.shape == before.shape


# ---- nothing changes a snapshot ------------------------------------------------------------------


def test_all_kinds_of_memory_may_change_afterwards():
    owner = np.zeros(100)
    read_only_view = owner[10:20]
    read_only_view.flags.writeable = False
    tree = {"w": {"owner": owner, "view": owner[::2], "locked": read_only_view}}
    image = Buffers().snapshot(tree).files[0]
    before = content(image)
    owner += 1
    assert content(image) == before


def test_a_read_only_window_on_memory_that_changes_is_copied():
    memory = bytearray(80)
    window = np.frombuffer(memoryview(memory).toreadonly())
    assert not window.flags.owndata
    image = Buffers().snapshot({"w": {"w": window}}).files[0]
    before = content(image)
    memory[:8] = b"changed!"
    assert content(image) == before


def test_a_group_that_is_gone_gives_its_memory_back_and_a_new_one_gets_its_own():
    buffers = Buffers()
    buffers.snapshot({"a": {"w": np.zeros(1000)}, "b": {"w": np.zeros(1000)}})
    kept = address(buffers.snapshot({"a": {"w": np.zeros(1000)}}).files[0])
    assert buffers._buffers.keys() == {"a"}
    files = buffers.snapshot({"c": {"w": np.ones(1000)}, "a": {"w": np.zeros(1000)}}).files
    assert address(files[1]) == kept != address(files[0])


def test_other_shapes_and_types_of_the_same_size_are_laid_out_anew():
    buffers = Buffers()
    for array in (np.zeros(6), np.zeros((2, 3)), np.zeros(6, "i8"), np.zeros(12, "f4")):
        image = buffers.snapshot({"w": {"w": array}}).files[0]
        assert content(image) == content(Buffers().snapshot({"w": {"w": array}}).files[0])


# ---- ties ----------------------------------------------------------------------------------------


def test_tied_arrays_are_stored_once_and_views_of_a_part_are_not_ties():
    tied = np.arange(100.0)
    tree = {"w": {"a": tied, "b": tied, "part": tied[:50], "turned": tied[::-1], "bits": tied[:]}}
    image = Buffers().snapshot(tree).files[0]
    assert image.aliases == {"w/b": "w/a", "w/bits": "w/a"}
    assert sorted(image.tensors) == ["a", "part", "turned"]
    assert image.size - len(image.head) == 800 + 400 + 800


def test_the_same_bytes_as_another_type_or_shape_are_no_tie():
    tied = np.arange(6.0)
    views = {"a": tied, "b": tied.view("i8"), "c": tied.reshape(2, 3)}
    image = Buffers().snapshot({"w": views}).files[0]
    assert image.aliases == {}
    assert {name: place.code for name, (_, place) in image.tensors.items()} == {
        "a": "F64",
        "b": "I64",
        "c": "F64",
    }


def test_empty_arrays_at_one_address_are_no_ties():
    empty = np.zeros((0, 3))
    image = Buffers().snapshot({"w": {"a": empty, "b": empty}}).files[0]
    assert image.aliases == {}
    assert sorted(image.tensors) == ["a", "b"]


def test_a_tie_between_groups_is_stored_in_both():
    tied = np.arange(5.0)
    files = Buffers().snapshot({"a": {"w": tied}, "b": {"w": tied}}).files
    assert [image.name for image in files] == ["a.safetensors", "b.safetensors"]
    assert bytes(files[0].parts["w"]) == bytes(files[1].parts["w"]) == tied.tobytes()


def test_ties_that_come_undone_are_stored_apart():
    buffers, tied = Buffers(), np.arange(5.0)
    assert buffers.snapshot({"w": {"a": tied, "b": tied}}).files[0].aliases
    image = buffers.snapshot({"w": {"a": tied, "b": tied + 1}}).files[0]
    assert not image.aliases
    assert bytes(image.parts["b"]) == (tied + 1).tobytes()


def test_nothing_of_a_tree_that_cannot_be_saved_harms_the_next_snapshot():
    buffers, array = Buffers(), np.arange(5.0)
    before = content(buffers.snapshot({"w": {"a": array}}).files[0])
    with pytest.raises(TypeError, match="allowed are BOOL"):
        buffers.snapshot({"w": {"a": array}, "x": {"b": np.zeros(2, ">f8")}})
    assert content(buffers.snapshot({"w": {"a": array}}).files[0]) == before
