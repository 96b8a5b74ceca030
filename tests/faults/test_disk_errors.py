"""Disks that are full, fail, may not be written or are gone: an error, and the older one whole."""

import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from callboard._core.fs import Disk
from callboard.checkpoint import CheckpointStore, every, last


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


FULL = """
import json, os, sys
from pathlib import Path
import numpy as np
from callboard.checkpoint import CheckpointStore, last
top, size = Path(sys.argv[1]), int(sys.argv[2])
def tree_of(step):
    return {"weights": {"w": np.full(size, step, "f4")}, "step": step}
def whole(step):
    with CheckpointStore(top / "s") as store:
        assert store.verify(store.last) == []
        tree = store.load()
    assert np.array_equal(tree["weights"]["w"], np.full(size, tree["step"], "f4"))
    return tree["step"]
def leave(pages):
    left = os.statvfs(top).f_bavail - pages
    (top / "others").write_bytes(bytes(left * os.statvfs(top).f_bsize))
pages, told = 0, None
while True:
    with CheckpointStore(top / "s", keep=[last(1)]) as store:
        store.save(tree_of(1), step=1)
        leave(pages)
        try:
            store.save(tree_of(2), step=2)
            told = None
        except OSError as error:
            told = error.errno, os.path.relpath(error.filename, top / "s").rpartition("/")[2]
        found = store.load()["step"]
        (top / "others").unlink()
        again = store.save(tree_of(3), step=3).step
    left = [name for name in os.listdir(top / "s") if name.startswith((".tmp", ".trash"))]
    print(json.dumps([told, found, again, whole(3), left]), flush=True)
    with CheckpointStore(top / "s") as store:
        store.clear()
    if told is None:
        break
    pages += 1 + size // 20_000
"""


def on_a_small_disk(folder, size):
    """Run the script above on a file system of 3 MB, which ends with the process."""
    folder.mkdir()
    command = [sys.executable, "-W", "error", "-c", FULL, str(folder), str(size)]
    mount = 'mount -t tmpfs -o size=3m tmpfs "$0" || exit 77; exec "$@"'
    # With the rights of root, or those that users have in a name space of their own.
    for space in (["unshare", "-m"], ["unshare", "-Urm"]):
        if shutil.which("unshare"):
            done = subprocess.run(
                [*space, "sh", "-c", mount, str(folder), *command],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            if done.returncode == 0:
                return [json.loads(line) for line in done.stdout.splitlines()]
            if "Traceback" in done.stderr:
                pytest.fail(done.stdout + done.stderr)
    pytest.skip("a small file system needs Linux, and root or name spaces of users")


@pytest.mark.parametrize("size", [5000, 300_000], ids=["cached", "direct"])
def test_a_disk_that_fills_up_at_any_page(tmp_path, size):
    said = on_a_small_disk(tmp_path / "small", size)
    for told, found, again, step, left in said[:-1]:
        assert told[0] == errno.ENOSPC
        # Behind the rename the new one is there, although what names it could not be written.
        assert found == (2 if told[1].startswith(".tmp-last") else 1)
        assert (again, step, left) == (3, 3, [])
    assert said[-1] == [None, 2, 3, 3, []]
    failed = [told[1] for told, *_ in said[:-1]]
    in_order = ["weights.safetensors", "state.json", "manifest.json", ".tmp-last.json"]
    assert list(dict.fromkeys(failed)) == (in_order if size == 5000 else in_order[:1])


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
                raise OSError(errno.EIO, "Input/output error", str(path))

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
        told = None
        try:
            store.save(tree_of(2), step=2)
        except OSError as error:
            told = error
        assert (told is not None) == (disk.left == 0)
        assert told is None or told.filename
        disk.fail("")
        found = store.load()
        assert np.array_equal(found["weights"]["w"], tree_of(found["step"])["weights"]["w"])
        assert told is not None or found["step"] == 2
        store.save(tree_of(3), step=3)
        assert store.load()["step"] == 3
    with CheckpointStore(tmp_path, keep=[last(1)]) as store:
        store.save(tree_of(4), step=4)
    assert is_whole(tmp_path, 4)


class Gone(Disk):
    """From the n-th operation that changes something on, fails until it is put right."""

    def __init__(self):
        self.left = None

    def hit(self, path):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.EROFS, "Read-only file system", str(path))

    def create(self, path, *, direct=False):
        self.hit(path)
        return super().create(path, direct=direct)

    def make_folder(self, path):
        self.hit(path)
        super().make_folder(path)

    def rename(self, source, target):
        self.hit(source)
        super().rename(source, target)

    def link(self, source, target):
        self.hit(source)
        super().link(source, target)

    def remove(self, path):
        self.hit(path)
        super().remove(path)

    def remove_folder(self, path):
        self.hit(path)
        super().remove_folder(path)

    def sync_folder(self, path):
        self.hit(path)
        super().sync_folder(path)


def left_in(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith((".tmp", ".trash"))]


@pytest.mark.parametrize("at", range(18))
def test_a_disk_that_comes_back_is_written_to_by_the_next_save(tmp_path, at):
    disk = Gone()
    with CheckpointStore(tmp_path, keep=[last(1)], disk=disk) as store:
        store.save(tree_of(1, 100), step=1)
        disk.left = at
        told = None
        try:
            store.save(tree_of(2, 100), step=2)
        except OSError as error:
            told = error
        assert (told is None) == (disk.left >= 0)
        if told is not None:
            assert str(told.filename).startswith(str(tmp_path))
            with pytest.raises(OSError, match="Read-only file system"):
                store.save(tree_of(2, 100), step=2)  # as long as it is like that
            assert store.load()["step"] in {1, 2}
        disk.left = None
        store.save(tree_of(2, 100), step=2)  # the same step, as a loop would try again
        assert store.load()["step"] == 2
        assert left_in(tmp_path) == []
        store.save(tree_of(3, 100), step=3)
        assert [c.step for c in store.checkpoints()] == [3]
    assert is_whole(tmp_path, 3)


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


def test_a_folder_that_is_removed_while_a_save_is_written(tmp_path):
    folder = tmp_path / "s"

    class Removed(Disk):
        armed = False

        def sync_folder(self, path):
            if self.armed:
                self.armed = False
                shutil.rmtree(folder)
            super().sync_folder(path)

    with CheckpointStore(folder, disk=(disk := Removed())) as store:
        store.save(tree_of(1), step=1)
        disk.armed = True
        with pytest.raises(FileNotFoundError) as told:
            store.save(tree_of(2), step=2)
        assert str(folder) in str(told.value)
        store.save(tree_of(3), step=3)
        assert [c.step for c in store.checkpoints()] == [3]
    assert is_whole(folder, 3)


def test_a_file_in_place_of_the_folder_is_an_error_that_names_it(tmp_path):
    (tmp_path / "s").write_text("mine")
    with CheckpointStore(tmp_path / "s") as store:
        with pytest.raises(OSError, match=str(tmp_path / "s")):
            store.save(tree_of(1), step=1)
        assert store.checkpoints() == []
    assert (tmp_path / "s").read_text() == "mine"


@pytest.mark.parametrize(
    "keep", [[last(2)], [last(2), every(seconds=600)]], ids=["last", "last and every"]
)
def test_a_clock_that_goes_back_an_hour(tmp_path, keep):
    times = iter([10_000.0, 6_400.0, 6_500.0, 7_100.0])
    with CheckpointStore(tmp_path, keep=keep, clock=lambda: next(times)) as store:
        for step in (1, 2, 3, 4):
            saved = store.save(tree_of(step), step=step)
            assert store.last == saved  # by the order of the saves, not by the clock
            assert store.load()["step"] == step
        steps = [c.step for c in store.checkpoints()]
        assert steps[-2:] == [3, 4]
    assert is_whole(tmp_path, 4)
