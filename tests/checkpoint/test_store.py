"""A folder of checkpoints."""

import contextlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from callboard import (
    ConfigurationError,
    DamagedCheckpointError,
    FileFormatError,
    NoCheckpointError,
)
from callboard._core.fs import Disk
from callboard.checkpoint import Checkpoint, CheckpointStore, best, every, last
from callboard.checkpoint.manifest import FileEntry, Manifest


def save(store, *steps, **metrics):
    for step in steps:
        store.save({"weights": {"w": np.full(4, step)}, "step": step}, step=step, metrics=metrics)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def store(tmp_path):
    with CheckpointStore(tmp_path / "s") as made:
        yield made


def test_what_was_saved_comes_back(store):
    tree = {
        "weights": {"a.b": np.arange(6.0).reshape(2, 3), "c": np.float32(1)},
        "list": [1, (2, None), {"x": np.zeros(2)}],
        "bytes": b"\0\1",
        "alone": np.ones(2, bool),
    }
    checkpoint = store.save(tree, step=7, epoch=2, metrics={"loss": 0.5, "nan": float("nan")})
    back = store.load()
    np.testing.assert_equal(back, tree)
    assert type(back["weights"]["c"]) is np.float32
    assert (checkpoint.step, checkpoint.epoch, checkpoint.number) == (7, 2, 1)
    assert store.checkpoints()[0].metrics == {"loss": 0.5}
    assert store.last == store.checkpoints()[0]


def test_files_are_readable_by_the_safetensors_package(store):
    weights = {"0.weight": np.arange(6.0).reshape(2, 3), "0.bias": np.zeros(3, "f4")}
    checkpoint = store.save({"weights": weights}, step=1)
    read = safetensors.numpy.load_file(store.path(checkpoint) / "weights.safetensors")
    np.testing.assert_equal(read, weights)


def test_large_files_are_written_past_the_cache_and_read_back(store):
    large = np.random.default_rng(0).random(400_001)
    store.save({"weights": {"w": large}}, step=1)
    np.testing.assert_array_equal(store.load()["weights"]["w"], large)
    assert not store.verify(store.last)


def test_a_part_is_read_by_itself(store):
    checkpoint = store.save({"a": {"x": np.ones(2)}, "b": {"x": np.zeros(2)}, "c": 1}, step=1)
    (store.path(checkpoint) / "b.safetensors").write_bytes(b"damaged")
    np.testing.assert_equal(
        store.load(checkpoint, only=["a", "c"]), {"a": {"x": np.ones(2)}, "c": 1}
    )


def test_unchanged_files_are_links_and_outlive_the_first(tmp_path):
    frozen = {"f": np.arange(1000.0)}
    with CheckpointStore(tmp_path, keep=[last(2)]) as store:
        for step in (1, 2, 3):
            store.save({"weights": {"w": np.full(3, step)}, "frozen": frozen}, step=step)
    files = sorted(tmp_path.glob("step-*/frozen.safetensors"))
    assert len({path.stat().st_ino for path in files}) == 1
    assert [path.stat().st_nlink for path in files] == [2, 2]
    np.testing.assert_array_equal(CheckpointStore(tmp_path).load()["frozen"]["f"], frozen["f"])


def test_a_link_is_only_made_to_what_was_verified(tmp_path):
    frozen = {"f": np.arange(1000.0)}
    with CheckpointStore(tmp_path) as store:
        store.save({"frozen": frozen}, step=1)
    with CheckpointStore(tmp_path) as store:  # another process, which has not read it
        store.save({"frozen": frozen}, step=2)
        store.load()
        store.save({"frozen": frozen}, step=3)
    inodes = [path.stat().st_ino for path in sorted(tmp_path.glob("step-*/frozen.safetensors"))]
    assert inodes[0] != inodes[1] == inodes[2]


def test_without_links_files_are_written_anew(tmp_path):
    class Fat(Disk):
        def link(self, source, target):
            raise PermissionError(1, "Operation not permitted", str(target))

    with CheckpointStore(tmp_path, disk=Fat()) as store:
        for step in (1, 2):
            store.save({"frozen": {"f": np.ones(5)}}, step=step)
        assert not store.verify(store.last)


def test_tied_arrays_are_stored_once(store):
    tied = np.arange(1000.0)
    checkpoint = store.save({"weights": {"in": tied, "out": tied, "view": tied[:500]}}, step=1)
    back = store.load()["weights"]
    assert back["in"] is back["out"]
    np.testing.assert_array_equal(back["view"], tied[:500])
    assert (store.path(checkpoint) / "weights.safetensors").stat().st_size < 13_000


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ([], [1, 2, 3, 4, 5]),
        ([last(2)], [4, 5]),
        ([best(1, "val_loss")], [2, 5]),
        ([best(2, "val_accuracy")], [4, 5]),
        ([every(steps=2)], [2, 4, 5]),
        ([last(1), best(1, "val_loss"), every(epochs=3)], [2, 3, 5]),
    ],
)
def test_rules_say_what_is_kept(tmp_path, rules, kept):
    with CheckpointStore(tmp_path, keep=rules) as store:
        for step, value in enumerate([0.5, 0.1, 0.4, 0.9, 0.8], 1):
            metrics = {"val_loss": value, "val_accuracy": value}
            store.save({"step": step}, step=step, epoch=step, metrics=metrics)
        assert [checkpoint.step for checkpoint in store.checkpoints()] == kept
    assert not [name for name in names(tmp_path) if name.startswith((".tmp", ".trash"))]


def test_pruning_by_other_rules(store):
    save(store, 1, 2, 3)
    assert [checkpoint.step for checkpoint in store.prune([last(1)])] == [1, 2]
    assert store.prune() == []


def test_pointers_are_files_that_name_a_checkpoint(tmp_path):
    with CheckpointStore(tmp_path, keep=[best(1, "loss")]) as store:
        save(store, 1, loss=0.5)
        save(store, 2, loss=0.7)
    for name, step in (("last", 2), ("best", 1)):
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert content == {"checkpoint": f"step-0000000{step}", "step": step}
    (tmp_path / "best.json").write_text("[]")
    assert CheckpointStore(tmp_path).pointed_to("best") is None


def test_a_step_that_is_saved_again_takes_the_place_of_the_first(tmp_path):
    with CheckpointStore(tmp_path) as store:
        save(store, 1, 2)
        store.save({"again": True}, step=1)
        assert [(c.name, c.number) for c in store.checkpoints()] == [
            ("step-00000002", 2),
            ("step-00000001-2", 3),
        ]
        assert store.load() == {"again": True}


def test_a_step_that_is_saved_again_without_metrics_leaves_the_one_that_has_some(tmp_path):
    with CheckpointStore(tmp_path, keep=[best(1, "loss")]) as store:
        save(store, 1, loss=0.5)
        save(store, 1)
        assert store.best is not None
        assert [c.name for c in store.checkpoints()] == ["step-00000001", "step-00000001-2"]
        save(store, 2, loss=0.4)
        assert [c.step for c in store.checkpoints()] == [2]


@pytest.mark.parametrize(("again", "kept"), [(0.6, [0.5, 0.6]), (0.5, [0.5]), (0.4, [0.4])])
def test_a_worse_run_does_not_take_the_best_checkpoint_of_an_earlier_one(again, kept, tmp_path):
    with CheckpointStore(tmp_path, keep=[best(1, "loss")]) as store:
        save(store, 1, loss=0.5)
        save(store, 1, loss=again)
        assert [c.metrics["loss"] for c in store.checkpoints()] == kept
        assert len(store.checkpoints()) == len(kept)


def test_a_new_run_in_an_old_folder_keeps_what_it_saves(tmp_path):
    with CheckpointStore(tmp_path, keep=[last(2)]) as store:
        save(store, 900, 1000, 1)
        assert [checkpoint.step for checkpoint in store.checkpoints()] == [1000, 1]
        assert store.load()["step"] == 1


def test_what_others_put_there_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-by-step").mkdir()
    with CheckpointStore(tmp_path, keep=[last(1)]) as store:
        save(store, 1, 2)
        store.clear()
    assert names(tmp_path) == ["notes.txt", "step-by-step"]


def test_clearing_removes_the_folder_if_nothing_else_is_in_it(tmp_path):
    store = CheckpointStore(tmp_path / "s")
    store.clear()
    save(store, 1)
    store.clear()
    assert not (tmp_path / "s").exists()
    save(store, 2)
    assert store.load()["step"] == 2
    store.close()


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    for name in (".tmp-step-00000009-77", ".trash-step-00000008"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    with CheckpointStore(tmp_path) as store:
        save(store, 1)
    assert names(tmp_path) == [".lock", "last.json", "step-00000001"]


def test_nothing_to_load_is_an_error_that_says_what_there_is(store):
    with pytest.raises(NoCheckpointError, match="there is no checkpoint in"):
        store.load()
    save(store, 1)
    with pytest.raises(
        NoCheckpointError, match=r"no checkpoint 'step-7' .* there are: step-00000001"
    ):
        store.load("step-7")
    with pytest.raises(NoCheckpointError):
        store.verify("step-7")


def _hold(folder, ready, done):
    with CheckpointStore(folder) as store:
        save(store, 1)
        ready.set()
        done.wait(30)


def test_two_processes_cannot_write_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("callboard._core.fs.lock._PATIENCE_S", 0.05)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(BlockingIOError, match="another process writes to this folder"):
            save(CheckpointStore(tmp_path), 2)
        assert CheckpointStore(tmp_path).load()["step"] == 1  # reading is not writing
    finally:
        done.set()
        other.join()
    with CheckpointStore(tmp_path) as store:
        save(store, 2)


def test_a_folder_that_may_only_be_read_is_left_as_it_is(tmp_path, monkeypatch):
    with CheckpointStore(tmp_path) as store:
        save(store, 1, 2)
    state = tmp_path / "step-00000002" / "state.json"
    state.write_bytes(b"x")

    class ReadOnly(Disk):
        def rename(self, source, target):
            raise PermissionError(13, "Permission denied", str(source))

    with pytest.warns(RuntimeWarning, match=r"step-00000001 is used instead"):
        assert CheckpointStore(tmp_path, disk=ReadOnly()).load()["step"] == 1
    assert state.exists()


def test_a_manifest_of_the_future_is_told_from_a_damaged_one(store, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("callboard.checkpoint.manifest.FORMAT", 2)
        save(store, 1)
    fresh = CheckpointStore(store.directory)
    assert fresh.checkpoints() == []
    with pytest.raises(FileFormatError, match=r"has format 2, and this version .* reads 1") as told:
        fresh.load()
    assert not isinstance(told.value, DamagedCheckpointError)


def test_many_checkpoints_are_listed_quickly(tmp_path):
    for number in range(300):
        folder = tmp_path / f"step-{number:08d}"
        folder.mkdir()
        metrics = {f"metric_{n}": 1 / (number + n + 1) for n in range(200)}  # a long summary
        checkpoint = Checkpoint(folder.name, number + 1, number, 0, metrics)
        manifest = Manifest(checkpoint, {"state.json": FileEntry(2, "0" * 32)})
        (folder / "manifest.json").write_bytes(manifest.encoded())
    store = CheckpointStore(tmp_path)
    assert [c.step for c in best(2, "metric_3", "min")(store.checkpoints())] == [299, 298]
    begin = time.perf_counter()
    assert len(store.checkpoints()) == 300
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: last(0),
        lambda: best(0, "loss"),
        lambda: best(1, "loss", "lowest"),
        every,
        lambda: every(steps=1, epochs=1),
        lambda: every(seconds=-1),
    ],
)
def test_impossible_rules_are_errors(make):
    with pytest.raises(ConfigurationError):
        make()


def test_what_cannot_be_saved_leaves_nothing(store):
    with pytest.raises(TypeError, match="weights/w is a object"):
        store.save({"weights": {"w": object()}}, step=1)
    assert not store.directory.exists()


def test_names_of_groups_that_are_no_file_names(store):
    tree = {
        "a/b": {"x": np.ones(1)},
        "A_b": {"x": np.zeros(1)},
        "..": {"x": np.ones(2)},
        "": [np.ones(3)],
    }
    checkpoint = store.save(tree, step=1)
    np.testing.assert_equal(store.load(), tree)
    files = [path.name for path in store.path(checkpoint).iterdir()]
    assert len(files) == 6
    assert not [name for name in files if name.startswith(".")]


def test_pruning_never_removes_the_last_whole_one(tmp_path):
    with CheckpointStore(tmp_path) as store:
        save(store, 1, 2, 3)
    for step in (2, 3):
        (tmp_path / f"step-0000000{step}" / "weights.safetensors").write_bytes(b"damaged")
    with CheckpointStore(tmp_path) as store:
        assert [c.step for c in store.prune([last(1)])] == [2]
    with pytest.warns(RuntimeWarning, match="step-00000003"):
        assert CheckpointStore(tmp_path).load()["step"] == 1


def test_trash_that_could_not_be_emptied_is_in_nobodys_way(tmp_path):
    class Sticky(Disk):
        broken = False

        def remove(self, path):
            if self.broken and ".trash" in str(path):
                raise OSError(5, "Input/output error", str(path))
            super().remove(path)

    disk = Sticky()
    with CheckpointStore(tmp_path, keep=[last(1)], disk=disk) as store:
        save(store, 1)
        disk.broken = True
        with pytest.raises(OSError, match="Input/output error"):
            save(store, 2)
        disk.broken = False
        save(store, 1, 2)
        assert store.load()["step"] == 2
    with CheckpointStore(tmp_path) as store:
        save(store, 3)
    assert not [name for name in names(tmp_path) if name.startswith(".trash")]


def test_a_folder_of_the_users_inside_a_checkpoint_goes_with_it(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.txt").touch()
    with CheckpointStore(tmp_path / "s", keep=[last(1)]) as store:
        checkpoint = store.save({"step": 1}, step=1)
        (store.path(checkpoint) / "plots" / "a").mkdir(parents=True)
        (store.path(checkpoint) / "plots" / "a" / "b.png").touch()
        (store.path(checkpoint) / "link").symlink_to(tmp_path / "elsewhere")
        save(store, 2)
        assert [c.step for c in store.checkpoints()] == [2]
    assert (tmp_path / "elsewhere" / "mine.txt").exists()


# ---- what cannot come back is not saved ----------------------------------------------------------

NUMBERS = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.booleans() | st.none()
LEAVES = NUMBERS | st.text(max_size=4) | st.binary(max_size=4)
ARRAYS = hnp.arrays(
    st.sampled_from([np.dtype(code) for code in ("bool", "<i4", "<f2", "<f8")]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
)
KEYS = st.text(max_size=3) | st.sampled_from(
    ["/", "..", "CON", "a" * 300, "manifest.json", "$array"]
)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES | ARRAYS,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(KEYS, inner, max_size=3)
            | st.dictionaries(st.integers(), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_any_tree_comes_back_from_a_file_and_is_whole(tree):
    with tempfile.TemporaryDirectory() as folder, CheckpointStore(folder) as store:
        checkpoint = store.save(tree, step=1)
        assert CheckpointStore(folder).verify(checkpoint) == []
        np.testing.assert_equal(CheckpointStore(folder).load(), tree)
        inside = {path.parent for path in Path(folder).rglob("*.*") if path.is_file()}
        assert inside == {Path(folder), store.path(checkpoint)}


@pytest.mark.parametrize("container", [list, tuple, dict], ids=["lists", "tuples", "dicts"])
@pytest.mark.parametrize("depth", [20, 60, 300])
def test_what_is_nested_too_deep_to_be_read_is_not_saved(store, container, depth):
    tree = {"x": 1}
    for _ in range(depth):
        tree = {"x": tree} if container is dict else {"x": container([tree])}
    try:
        store.save(tree, step=1)
    except (TypeError, ValueError):
        assert depth > 20
        assert not store.checkpoints()
    else:
        assert CheckpointStore(store.directory).load() == tree


@pytest.mark.parametrize(
    "given",
    [
        {"step": -1},
        {"step": 1, "epoch": -1},
        {"step": 1.5},
        {"step": "3"},
        {"step": 1, "epoch": 0.5},
    ],
    ids=str,
)
def test_counts_that_are_none_are_errors_that_say_what_was_given(store, given):
    wrong = next(value for value in given.values() if value != 1)
    with pytest.raises((TypeError, ValueError), match=f"(step|epoch).*{re.escape(repr(wrong))}"):
        store.save({"a": 1}, **given)
    assert not store.directory.exists() or names(store.directory) == [".lock"]


def test_numbers_of_numpy_are_counts_and_metrics_too(store):
    store.save(
        {"a": 1},
        step=np.int64(3),
        epoch=np.int32(2),
        metrics={"loss": np.float32(0.5), "accuracy": np.float64(1), "count": 3},
    )
    (found,) = CheckpointStore(store.directory).checkpoints()
    assert (found.step, found.epoch) == (3, 2)
    assert found.metrics == {"loss": 0.5, "accuracy": 1.0, "count": 3.0}


# ---- who writes ----------------------------------------------------------------------------------


def test_the_file_of_the_lock_is_removed_while_it_is_held(tmp_path):
    held, removed = [], []

    class Watched(Disk):
        @contextlib.contextmanager
        def locked(self, path):
            with super().locked(path):
                held.append(path)
                yield
                held.remove(path)

        def remove(self, path):
            if path.name == ".lock":
                removed.append(held == [path])
            super().remove(path)

    store = CheckpointStore(tmp_path / "s", disk=Watched())
    save(store, 1)
    store.clear()
    assert removed == [True]  # otherwise it may be another process's by then


def test_another_reader_in_the_process_does_not_disturb_a_save(tmp_path):
    with CheckpointStore(tmp_path) as store:
        save(store, 1, 2)
    (tmp_path / "step-00000002" / "state.json").write_bytes(b"damaged")

    class Reading(Disk):
        def create(self, path, *, direct=False):
            if path.name == "manifest.json":  # in the middle of the save
                with pytest.warns(RuntimeWarning, match="step-00000001 is used instead"):
                    assert CheckpointStore(tmp_path).load()["step"] == 1
            return super().create(path, direct=direct)

    with CheckpointStore(tmp_path, disk=Reading()) as store:
        save(store, 3)
        assert store.load()["step"] == 3


def test_another_reader_in_the_process_leaves_the_folder_locked(tmp_path, monkeypatch):
    monkeypatch.setattr("callboard._core.fs.lock._PATIENCE_S", 0.05)
    with CheckpointStore(tmp_path) as store:
        save(store, 1, 2)
        (tmp_path / "step-00000002" / "state.json").write_bytes(b"damaged")
        with pytest.warns(RuntimeWarning, match="step-00000001 is used instead"):
            CheckpointStore(tmp_path).load()
        other = (
            "import sys; from callboard._core.fs import lock; lock._PATIENCE_S = 0\n"
            "from callboard.checkpoint import CheckpointStore\n"
            "try: CheckpointStore(sys.argv[1]).save({'step': 3}, step=3)\n"
            "except BlockingIOError: print('refused')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", other, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout == "refused\n"


def test_a_store_that_was_closed_writes_again(tmp_path):
    store = CheckpointStore(tmp_path)
    save(store, 1)
    store.close()
    with CheckpointStore(tmp_path) as other:
        save(other, 2)
    save(store, 3)
    assert [c.step for c in store.checkpoints()] == [1, 2, 3]
    assert [c.number for c in store.checkpoints()] == [1, 2, 3]
    store.close()


def test_links_are_made_to_the_newest_after_another_store_has_written(tmp_path):
    frozen = {"f": np.arange(1000.0)}
    store = CheckpointStore(tmp_path, keep=[last(1)])
    store.save({"frozen": frozen}, step=1)
    store.close()
    with CheckpointStore(tmp_path, keep=[last(1)]) as other:
        other.save({"frozen": {"f": frozen["f"] + 1}}, step=2)
    store.save({"frozen": frozen}, step=3)  # what it would be linked to is gone
    assert not store.verify(store.last)
    np.testing.assert_array_equal(store.load()["frozen"]["f"], frozen["f"])
    store.close()


# ---- what others do meanwhile --------------------------------------------------------------------


def test_a_list_shows_what_others_have_saved_removed_and_damaged(tmp_path):
    reading = CheckpointStore(tmp_path, keep=[best(1, "loss")])
    with CheckpointStore(tmp_path) as other:
        save(other, 1, 2, 3, loss=0.5)
        assert [c.step for c in reading.checkpoints()] == [1, 2, 3]
        other.prune([last(2)])
        save(other, 4, loss=0.1)
        (tmp_path / "step-00000003" / "manifest.json").write_bytes(b"damaged")
        assert [c.step for c in reading.checkpoints()] == [2, 4]
        assert reading.best.step == 4
        other.clear()
        save(other, 4, loss=0.9)  # the same name, and another checkpoint
        save(other, 5, loss=0.8)
        assert [(c.step, c.number) for c in reading.checkpoints()] == [(4, 1), (5, 2)]
        assert reading.best.step == 5


@pytest.mark.parametrize("make", ["folder", "link", "pipe", "empty", "nothing"])
def test_a_manifest_that_is_no_file_is_left_out_of_the_list(store, tmp_path, make):
    save(store, 1, 2)
    path = store.directory / "step-00000001" / "manifest.json"
    (tmp_path / "kept").write_bytes(path.read_bytes())
    path.unlink()
    make_it = {
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(tmp_path / "kept"),
        "pipe": lambda: os.mkfifo(path),
        "empty": path.touch,
        "nothing": lambda: None,
    }
    make_it[make]()
    assert [c.step for c in CheckpointStore(store.directory).checkpoints()] == [2]


def test_what_a_store_knew_before_another_one_wrote_decides_nothing(tmp_path):
    store = CheckpointStore(tmp_path, keep=[best(1, "loss")])
    save(store, 1, loss=0.1)
    store.close()
    with CheckpointStore(tmp_path) as other:
        other.clear()
        save(other, 1, loss=0.9)
        save(other, 2, loss=0.2)
    save(store, 3, loss=0.5)
    assert [c.step for c in store.checkpoints()] == [2, 3]
    store.close()


@pytest.mark.parametrize("loads", [False, True])
def test_no_link_is_made_to_a_checkpoint_that_only_has_the_name_of_the_one_before(tmp_path, loads):
    frozen = {"f": np.arange(1000.0)}
    store = CheckpointStore(tmp_path)
    store.save({"frozen": frozen}, step=1)
    store.close()
    if loads:
        store.load()
    with CheckpointStore(tmp_path) as other:
        other.clear()
        other.save({"frozen": {"f": frozen["f"] + 1}}, step=1)
    store.save({"frozen": frozen}, step=2)
    assert store.verify(store.last) == []
    np.testing.assert_array_equal(store.load()["frozen"]["f"], frozen["f"])
    store.close()


def test_no_link_is_made_to_a_file_that_was_left_out_when_a_part_was_loaded(tmp_path):
    frozen = {"f": np.arange(1000.0)}
    with CheckpointStore(tmp_path) as store:
        store.save({"frozen": frozen, "note": 1}, step=1)
    path = tmp_path / "step-00000001" / "frozen.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    with CheckpointStore(tmp_path) as store:
        assert store.load(only=["note"]) == {"note": 1}
        store.save({"frozen": frozen}, step=2)
        assert store.verify(store.last) == []


def test_a_link_is_made_to_what_was_loaded_before_the_first_save(tmp_path):
    frozen = {"f": np.arange(1000.0)}
    with CheckpointStore(tmp_path) as store:
        store.save({"frozen": frozen}, step=1)
    with CheckpointStore(tmp_path) as store:
        store.load()
        store.save({"frozen": frozen}, step=2)
    inodes = {path.stat().st_ino for path in tmp_path.glob("step-*/frozen.safetensors")}
    assert len(inodes) == 1


FORKED = """
import os, sys
from callboard._core.fs import lock
from callboard.checkpoint import CheckpointStore
lock._PATIENCE_S = 0
store = CheckpointStore(sys.argv[1])
store.save({"step": 1}, step=1)
os.mkdir(f"{sys.argv[1]}/.tmp-step-00000002-1")  # as if it were being written
pid = os.fork()
if not pid:
    for action in (store.clear, store.prune, lambda: store.save({"step": 3}, step=3)):
        try:
            action()
        except BlockingIOError as error:
            print(error.strerror, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(sorted(os.listdir(sys.argv[1])))
store.save({"step": 2}, step=2)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a fork")
def test_a_forked_process_does_not_write_by_the_right_of_its_parent(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    refused = "another process writes to this folder; end it, or use another folder\n"
    there = [".lock", ".tmp-step-00000002-1", "last.json", "step-00000001"]
    assert done.stdout == 3 * refused + f"{there}\n"
    assert [c.step for c in CheckpointStore(tmp_path).checkpoints()] == [1, 2]


def test_to_prune_a_folder_that_was_cleared_makes_nothing(tmp_path):
    store = CheckpointStore(tmp_path / "s", keep=[last(1)])
    save(store, 1)
    store.clear()
    assert store.prune() == []  # as after the last save of a run whose backups are removed
    assert store.remove_damaged() == store.remove_damaged(dry=True) == []
    assert not (tmp_path / "s").exists()
