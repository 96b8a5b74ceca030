"""Saving a run while it goes on."""

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from callboard import Run
from callboard._core import frameworks
from callboard._core.fs import Disk
from callboard.checkpoint import CheckpointStore
from callboard.checkpoint.keep import last
from callboard.checkpoint.saver import Saver
from callboard.testing import ScriptedModel

ROWS = 1000


class Array:
    """An array of a framework; something is done before it is copied."""

    kind = "test"
    dtype = np.dtype("f8")
    shape = (ROWS,)

    def __init__(self, value, before=lambda: None):
        self.value, self.before, self.memory = value, before, object()

    def copy_to(self, target):
        self.before()
        target[:] = self.value


class State:
    """What a run is given to save beside its model."""

    def __init__(self):
        self.arrays = {}

    def state_dict(self):
        return dict(self.arrays)

    def load_state_dict(self, state):
        self.arrays = state


class Writing(Disk):
    """Tells of every write, or fails at it."""

    def __init__(self):
        self.written = threading.Event()
        self.error = None

    def create(self, path, *, direct=False):
        file, disk = super().create(path, direct=direct), self

        class File:
            def write(self, data):
                if disk.error is not None:
                    raise disk.error
                file.write(data)
                disk.written.set()

            def sync(self):
                file.sync()

            def close(self):
                file.close()

        return File()


@pytest.fixture
def state(monkeypatch):
    source_of = frameworks.source_of
    monkeypatch.setattr(
        "callboard._core.frameworks.source_of",
        lambda leaf: leaf if isinstance(leaf, Array) else source_of(leaf),
    )
    monkeypatch.setattr("callboard.checkpoint.image._CHUNK", 4096)
    monkeypatch.setattr("callboard.checkpoint.writer._DIRECT_FROM", 4096)
    return State()


@pytest.fixture
def run(state):
    with Run(trainable=ScriptedModel(), epochs=1, stateful={"mine": state}, verbose=0) as made:
        yield made
        made.saver.close()


@pytest.fixture
def store(tmp_path):
    with CheckpointStore(tmp_path / "s", disk=Writing()) as made:
        yield made


def arrays(last_before=lambda: None):
    """Return three arrays by name; something is done before the last is copied."""
    return {"a": Array(1.0), "b": Array(2.0), "c": Array(3.0, last_before)}


def saved(store):
    found = CheckpointStore(store.directory)
    assert found.verify(found.last) == []
    tree = found.load(revived=lambda kind, array: array)
    return {name: set(array) for name, array in tree["stateful"]["mine"].items()}


def left(store):
    return [
        path.name for path in store.directory.iterdir() if path.name.startswith((".tmp", "step"))
    ]


def test_the_first_bytes_are_written_while_the_others_are_copied(run, state, store):
    seen = []
    state.arrays = arrays(lambda: seen.append(store._disk.written.wait(30)))
    Saver.of(run).save(store)
    Saver.of(run).wait()
    assert seen == [True]
    assert saved(store) == {"a": {1.0}, "b": {2.0}, "c": {3.0}}


def test_the_run_goes_on_when_all_is_copied_and_the_snapshot_stays(run, state, store, monkeypatch):
    go = threading.Event()
    create = Writing.create

    def held(self, path, **options):
        go.wait(30)
        return create(self, path, **options)

    monkeypatch.setattr(Writing, "create", held)
    state.arrays = {"a": np.full(ROWS, 1.0)}
    Saver.of(run).save(store)
    state.arrays["a"] += 1
    go.set()
    Saver.of(run).wait()
    assert saved(store) == {"a": {1.0}}


@pytest.mark.parametrize("error", [RuntimeError("device lost"), KeyboardInterrupt()], ids=repr)
def test_an_error_in_the_middle_of_the_copy_leaves_nothing(run, state, store, error):
    def fail():
        assert store._disk.written.wait(30)  # the file is begun
        raise error

    state.arrays = arrays(fail)
    with pytest.raises(type(error)):
        Saver.of(run).save(store)
    Saver.of(run).wait()  # raises nothing more
    assert left(store) == []
    assert not run.boundary.is_needed  # nor will it be raised again
    state.arrays = arrays()
    Saver.of(run).save(store)
    Saver.of(run).wait()
    assert saved(store) == {"a": {1.0}, "b": {2.0}, "c": {3.0}}


def test_an_error_in_the_middle_of_the_copy_leaves_the_one_before(run, state, store):
    state.arrays = arrays()
    Saver.of(run).save(store)
    Saver.of(run).wait()
    run.boundary.count += 1
    state.arrays = {"a": Array(9.0), "b": Array(9.0), "c": Array(9.0, lambda: 1 / 0)}
    with pytest.raises(ZeroDivisionError):
        Saver.of(run).save(store)
    Saver.of(run).wait()
    assert left(store) == ["step-00000000"]
    assert saved(store) == {"a": {1.0}, "b": {2.0}, "c": {3.0}}


def test_an_error_of_the_disk_in_the_middle_of_the_copy_is_told_and_leaves_nothing(
    run, state, store
):
    store._disk.error = OSError(28, "No space left on device", "weights")
    state.arrays = arrays()
    Saver.of(run).save(store)
    with pytest.raises(OSError, match="No space left on device"):
        Saver.of(run).wait()
    assert left(store) == []


def test_an_unchanged_file_is_linked_although_it_was_still_being_copied(run, state, tmp_path):
    with CheckpointStore(tmp_path / "s", keep=[last(2)], disk=Writing()) as store:
        for step in range(2):
            run.progress.step = step
            state.arrays = arrays()
            Saver.of(run).save(store)
            Saver.of(run).wait()
            run.boundary.count += 1
    files = list(store.directory.glob("step-*/stateful.safetensors"))
    assert [path.stat().st_nlink for path in files] == [2, 2]


KILLED = """
import glob, os, signal, sys, threading, time
import numpy as np
from callboard.checkpoint import CheckpointStore, image
from callboard.checkpoint.snapshot import Buffers

class Last:
    kind, dtype, shape, memory = "test", np.dtype("f8"), (1000,), None

    def copy_to(self, target):
        while not any(map(os.path.getsize, glob.glob(f"{sys.argv[1]}/.tmp-*/w.safetensors"))):
            time.sleep(0.001)  # until the bytes before are written
        os.kill(os.getpid(), signal.SIGKILL)

image._CHUNK = 4096
store = CheckpointStore(sys.argv[1])
store.save({"w": {"a": np.ones(1000)}}, step=1)
buffers = Buffers(lambda leaf: leaf if isinstance(leaf, Last) else None)
with buffers.taking({"w": {"a": np.zeros(1000), "b": Last()}}) as snapshot:
    options = {"step": 2, "epoch": 0, "metrics": {}}
    threading.Thread(target=store.write, args=(snapshot,), kwargs=options).start()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_process_killed_in_the_middle_of_the_copy_leaves_the_one_before(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".tmp-*"))) == 1
    with CheckpointStore(tmp_path) as store:
        np.testing.assert_array_equal(store.load()["w"]["a"], np.ones(1000))
        store.save({"n": 3}, step=3)
        assert [c.step for c in store.checkpoints()] == [1, 3]
    assert not list(tmp_path.glob(".tmp-*"))
