"""Disks that are full, fail, may not be written or are gone: an error, and the older one whole."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from callboard._core.fs import Disk
from callboard.checkpoint import CheckpointStore, last


def tree_of(step, size=200_000):
    return {"weights": {"w": np.full(size, step, "f4")}, "step": step}


def is_whole(folder, step):
    store = CheckpointStore(folder)
    assert not store.verify(store.last)
    assert store.load()["step"] == step
    assert not [p.name for p in folder.iterdir() if p.name.startswith((".tmp", ".trash"))]
    return True


SCRIPT = """
import resource, sys
import numpy as np
from callboard.checkpoint import CheckpointStore, last
folder, limit = sys.argv[1], int(sys.argv[2])
def tree_of(step):
    return {"weights": {"w": np.full(200_000, step, "f4")}, "step": step}
with CheckpointStore(folder, keep=[last(1)]) as store:
    store.save(tree_of(1), step=1)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for step in (2, 3, 4):
        try:
            store.save(tree_of(step), step=step)
        except OSError as error:
            print(error.errno, error.filename.rpartition("/")[2], store.load()["step"], flush=True)
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            store.save({"step": 9}, step=9)
            print(store.load(), flush=True)
            break
"""


def run(folder, limit=0):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
@pytest.mark.parametrize("limit", [0, 4096, 500_000, 500_123])
def test_a_file_that_may_grow_no_further(tmp_path, limit):
    said = run(tmp_path / "s", limit or 1)
    assert said == ["27 weights.safetensors 1", "{'step': 9}"]
    assert is_whole(tmp_path / "s", 9)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("needs root, to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full(small_disk):
    (small_disk / "others").write_bytes(bytes(700_000))  # two checkpoints of 0.8 MB do not fit
    assert run(small_disk / "s") == ["28 weights.safetensors 1", "{'step': 9}"]
    assert is_whole(small_disk / "s", 9)


class Failing(Disk):
    """Fails at the n-th call of a method from now on."""

    def __init__(self):
        self.failing, self.left = "", 0

    def fail(self, method, at=1):
        self.failing, self.left = method, at

    def hit(self, method, path):
        if method == self.failing:
            self.left -= 1
            if self.left == 0:
                raise OSError(5, "Input/output error", str(path))

    def create(self, path, *, direct=False):
        self.hit("create", path)
        file, disk = super().create(path, direct=direct), self

        class File:
            def write(self, data):
                disk.hit("write", path)
                file.write(data)

            def sync(self):
                disk.hit("sync", path)
                file.sync()

            def close(self):
                file.close()

        return File()

    def rename(self, source, target):
        self.hit("rename", source)
        super().rename(source, target)

    def sync_folder(self, path):
        self.hit("sync_folder", path)
        super().sync_folder(path)

    def remove(self, path):
        self.hit("remove", path)
        super().remove(path)

    def make_folder(self, path):
        self.hit("make_folder", path)
        super().make_folder(path)


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    "method", ["create", "write", "sync", "rename", "sync_folder", "remove", "make_folder"]
)
def test_an_error_of_the_disk_is_told_and_what_was_there_stays(tmp_path, method, at):
    disk = Failing()
    with CheckpointStore(tmp_path, keep=[last(1)], disk=disk) as store:
        store.save(tree_of(1), step=1)
        disk.fail(method, at)
        try:
            store.save(tree_of(2), step=2)
        except OSError as error:
            assert error.filename  # noqa: PT017 - not every combination fails
        disk.fail("")
        found = store.load()
        assert np.array_equal(found["weights"]["w"], tree_of(found["step"])["weights"]["w"])
        store.save(tree_of(3), step=3)
        assert store.load()["step"] == 3
    with CheckpointStore(tmp_path, keep=[last(1)]) as store:
        store.save(tree_of(4), step=4)
    assert is_whole(tmp_path, 4)


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr("os.write", lambda file, data: write(file, data[: max(1, len(data) // 3)]))
    large = np.random.default_rng(0).random(300_001)  # past the cache, and not a whole block
    with CheckpointStore(tmp_path) as store:
        store.save({"weights": {"w": large}}, step=1)
    monkeypatch.undo()
    np.testing.assert_array_equal(CheckpointStore(tmp_path).load()["weights"]["w"], large)


def test_a_write_that_takes_nothing_is_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("os.write", lambda file, data: 0)
    with CheckpointStore(tmp_path) as store, pytest.raises(OSError, match="No space left") as told:
        store.save({"step": 1}, step=1)
    assert told.value.filename.endswith("state.json")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users of Unix")
def test_a_folder_that_may_not_be_written(tmp_path):
    folder = tmp_path / "s"
    with CheckpointStore(folder) as store:
        store.save(tree_of(1), step=1)
    folder.chmod(0o555)
    script = (
        "import os, sys\n"
        "from callboard.checkpoint import CheckpointStore\n"
        "store = CheckpointStore(sys.argv[1])\n"
        "store.load()\n"  # nothing is left to import when this is another user
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: store.save({'step': 2}, step=2)\n"
        "except PermissionError as error: print(error.filename)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False
        )
    finally:
        folder.chmod(0o755)
    assert done.stdout.startswith(str(tmp_path)), done.stderr
    assert is_whole(folder, 1)


def test_a_folder_that_is_removed_under_the_store(tmp_path):
    folder = tmp_path / "s"
    with CheckpointStore(folder) as store:
        store.save(tree_of(1), step=1)
        shutil.rmtree(folder)
        store.save(tree_of(2), step=2)
        assert [c.step for c in store.checkpoints()] == [2]
        assert store.load()["step"] == 2


def test_a_clock_that_goes_back(tmp_path):
    times = iter([10_000.0, 6_400.0, 6_500.0])
    with CheckpointStore(tmp_path, keep=[last(2)], clock=lambda: next(times)) as store:
        for step in (1, 2, 3):
            store.save(tree_of(step), step=step)
        assert [c.step for c in store.checkpoints()] == [2, 3]
        assert store.load()["step"] == 3
