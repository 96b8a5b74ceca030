import builtins
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from callboard import FileFormatError, UnsupportedError
from callboard.checkpoint import hdf5
from callboard.checkpoint.dtypes import stand_in
from callboard.checkpoint.hdf5 import read_hdf5, write_hdf5

h5py = pytest.importorskip("h5py")

FRESH = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
ARRAYS = hnp.arrays(
    st.sampled_from(
        [np.dtype(x) for x in ("bool", "u1", "<i2", "<i8", "<f2", "<f4", "<f8", "<c8")]
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
KEYS = st.text(max_size=6).filter(lambda key: key[:1] != "$")
TREES = st.dictionaries(
    KEYS | st.sampled_from(["a", "a/b", ".", "..", "", "/", "\0"]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5) | ARRAYS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
TREE = {"weights": {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros((), "i8")}, "step": 3}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


@FRESH
@given(TREES)
def test_nested_state_comes_back(tmp_path, tree):
    write_hdf5(tmp_path / "model.h5", tree)
    np.testing.assert_equal(read_hdf5(tmp_path / "model.h5"), tree)


def test_types_and_shapes_come_back(path):
    tree = {
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), "f4"),
        "number": np.array(1.5, "f2"),
        "brain": np.array([1, 2], "<u2").view(stand_in("bfloat16", "<u2")),
        "strided": np.arange(10)[::3],
    }
    write_hdf5(path, tree)
    found = read_hdf5(path)
    for name, array in tree.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_other_programs_find_the_arrays_by_their_place(path):
    write_hdf5(path, TREE)
    with h5py.File(path, "r") as h5:
        np.testing.assert_array_equal(h5["arrays/weights/a"], TREE["weights"]["a"])
        assert sorted(h5) == ["arrays", "tree"]


def test_every_byte_that_is_changed_is_noticed(path):
    write_hdf5(path, TREE)
    content = path.read_bytes()
    for position in range(0, len(content), 29):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(FileFormatError):
            read_hdf5(path)


@pytest.mark.parametrize("length", [0, 8, 19, 511, 512, 513, 2000, -1])
def test_a_file_that_was_cut_is_an_error(path, length):
    write_hdf5(path, TREE)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FileFormatError, match=r"model\.h5"):
        read_hdf5(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" * 200])
def test_what_is_no_file_of_ours_is_an_error_that_says_so(path, content):
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="is no HDF5 file that callboard saved"):
        read_hdf5(path)


def test_a_file_of_another_program_is_not_opened_at_all(path, monkeypatch):
    with h5py.File(path, "w") as h5:
        h5["model_weights"] = np.zeros(3)
    monkeypatch.setattr(h5py, "File", lambda *_arguments: pytest.fail("it was opened"))
    with pytest.raises(FileFormatError, match="only those can be loaded"):
        read_hdf5(path)


def forge(path, fill):
    """Write an HDF5 file with the right digest, as somebody who means harm can."""
    with h5py.File(path, "w", userblock_size=512) as h5:
        fill(h5)
    with path.open("r+b") as file:
        file.seek(512)
        head = hdf5._head(file)
        file.seek(0)
        file.write(head)


def good(h5, without=()):
    for name, data in (("tree", np.frombuffer(b'{"x":{"$array":"x"}}', "u1")),):
        if name not in without:
            h5[name] = data
    if "x" not in without:
        h5["arrays/x"] = np.ones(2)


def test_a_forged_file_is_read_if_it_is_well_formed(path):
    forge(path, good)
    np.testing.assert_equal(read_hdf5(path), {"x": np.ones(2)})


def external_link(h5):
    good(h5, without="x")
    h5["arrays/x"] = h5py.ExternalLink("secret.h5", "/x")


def external_group(h5):
    good(h5, without="x")
    h5["arrays"] = h5py.ExternalLink("secret.h5", "/")


def external_tree(h5):
    good(h5, without=["tree"])
    h5["tree"] = h5py.ExternalLink("secret.h5", "/x")


def soft_link(h5):
    good(h5, without="x")
    h5["arrays/x"] = h5py.SoftLink("/tree")


def virtual(h5):
    good(h5, without="x")
    layout = h5py.VirtualLayout(shape=(2,), dtype="f8")
    layout[:] = h5py.VirtualSource("secret.h5", "x", shape=(2,))
    h5.create_virtual_dataset("arrays/x", layout)


def external_storage(h5):
    good(h5, without="x")
    h5.create_dataset("arrays/x", (2,), "f8", external=[("secret.bin", 0, 16)])


def virtual_tree(h5):
    good(h5, without=["tree"])
    layout = h5py.VirtualLayout(shape=(2,), dtype="u1")
    layout[:] = h5py.VirtualSource("secret.h5", "x", shape=(2,))
    h5.create_virtual_dataset("tree", layout)


def no_tree(h5):
    good(h5, without=["tree"])


def no_array(h5):
    good(h5, without="x")


def tree_of_numbers(h5):
    good(h5, without=["tree"])
    h5["tree"] = 3.5


def tree_is_a_group(h5):
    good(h5, without=["tree"])
    h5["tree/a"] = 1


def no_json(h5):
    good(h5, without=["tree"])
    h5["tree"] = np.frombuffer(b"\xff{", "u1")


def bad_number(h5):
    good(h5, without=["tree"])
    h5["tree"] = np.frombuffer(b'{"$float": "one"}', "u1")


def bad_path(h5):
    good(h5, without=["tree"])
    h5["tree"] = np.frombuffer(b'{"$array": [1]}', "u1")


@pytest.mark.parametrize(
    "fill",
    [
        *(external_link, external_group, external_tree, soft_link, virtual, virtual_tree),
        *(external_storage, no_tree, no_array, tree_of_numbers, tree_is_a_group, no_json),
        *(bad_number, bad_path),
    ],
)
def test_a_forged_file_reaches_no_other_file_and_is_an_error(path, tmp_path, monkeypatch, fill):
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as h5:
        h5["x"] = np.full(2, 7.0)
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    forge(path, fill)
    with pytest.raises(FileFormatError, match=r"model\.h5"):
        read_hdf5(path)


def test_errors_of_the_system_stay_what_they_are(path):
    with pytest.raises(FileNotFoundError):
        read_hdf5(path)
    path.mkdir()
    with pytest.raises(IsADirectoryError if sys.platform != "win32" else PermissionError):
        read_hdf5(path)


def test_after_an_error_the_file_before_is_there_and_nothing_else(path):
    write_hdf5(path, TREE)
    with pytest.raises(TypeError):
        write_hdf5(path, {"x": np.array([object()])})
    np.testing.assert_equal(read_hdf5(path), TREE)
    assert list(path.parent.iterdir()) == [path]


def test_on_a_full_disk_the_file_before_is_whole(full_disk, path):
    write_hdf5(path, TREE)
    said = full_disk(
        "import numpy as np\n"
        "from callboard.checkpoint.hdf5 import write_hdf5\n"
        "write_hdf5(folder / 'model.h5', {'x': np.zeros(10_000)})\n"
    )
    assert said
    np.testing.assert_equal(read_hdf5(path), TREE)
    assert list(path.parent.iterdir()) == [path]


def test_without_h5py_the_error_says_how_to_install_it(path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnsupportedError, match=r"pip install 'callboard\[hdf5\]'"):
        write_hdf5(path, TREE)
