"""A store that is read by others while one writes, and folders of all kinds."""

import errno
import os
import shutil

import numpy as np
import pytest

from callboard import NoCheckpointError
from callboard._core.fs import Disk
from callboard.checkpoint import CheckpointStore, best, last


def save(store, *steps):
    for step in steps:
        store.save({"weights": {"w": np.full(4, step)}, "step": step}, step=step)


class At(Disk):
    """Does something once, before a file of this name is opened."""

    def __init__(self, name, action):
        self.name, self.action = name, action

    def open(self, path):
        if path.name == self.name and self.action is not None:
            action, self.action = self.action, None
            action()
        return super().open(path)


# ---- reading while another one writes ------------------------------------------------------------


@pytest.mark.parametrize("file", ["manifest.json", "state.json", "weights.safetensors"])
def test_a_checkpoint_that_is_removed_while_it_is_read_makes_way_for_the_newer_one(tmp_path, file):
    with CheckpointStore(tmp_path, keep=[last(1)]) as writing:
        save(writing, 1)
        reading = CheckpointStore(tmp_path, disk=At(file, lambda: save(writing, 2)))
        assert reading.load()["step"] == 2
        assert [c.step for c in writing.checkpoints()] == [2]


def test_a_checkpoint_that_is_asked_for_by_name_and_removed_meanwhile_is_not_called_damaged(
    tmp_path,
):
    with CheckpointStore(tmp_path, keep=[last(1)]) as writing:
        save(writing, 1)
        reading = CheckpointStore(tmp_path, disk=At("state.json", lambda: save(writing, 2)))
        with pytest.raises(NoCheckpointError, match="there are: step-00000002"):
            reading.load("step-00000001")
        reading = CheckpointStore(tmp_path, disk=At("state.json", lambda: save(writing, 3)))
        with pytest.raises(NoCheckpointError, match="there are: step-00000003"):
            reading.verify("step-00000002")


def test_a_folder_that_is_cleared_while_it_is_read_has_none(tmp_path):
    with CheckpointStore(tmp_path / "s") as writing:
        save(writing, 1, 2)
        reading = CheckpointStore(tmp_path / "s", disk=At("state.json", writing.clear))
        with pytest.raises(NoCheckpointError, match="there is no checkpoint in"):
            reading.load()


def test_who_reads_only_does_not_keep_others_from_writing(tmp_path):
    with CheckpointStore(tmp_path) as store:
        save(store, 1, 2)
    (tmp_path / "step-00000002" / "state.json").write_bytes(b"damaged")
    reading = CheckpointStore(tmp_path)
    with pytest.warns(RuntimeWarning, match="set aside as 'damaged-step-00000002'"):
        assert reading.load()["step"] == 1
    with CheckpointStore(tmp_path) as writing:  # as the first process of several that resume
        save(writing, 3)
    assert reading.load()["step"] == 3


def test_a_whole_one_that_took_the_name_of_a_damaged_one_is_not_set_aside(tmp_path):
    with CheckpointStore(tmp_path) as store:
        save(store, 1, 2)
    (tmp_path / "step-00000002" / "state.json").write_bytes(b"damaged")

    def save_again():
        shutil.rmtree(tmp_path / "step-00000002")
        with CheckpointStore(tmp_path) as store:
            save(store, 2)

    class Late(Disk):
        def open(self, path):
            second = tmp_path / "step-00000002" / "state.json"
            if path.parent.name == "step-00000001" and second.read_bytes() == b"damaged":
                save_again()
            return super().open(path)

    with pytest.warns(RuntimeWarning, match="step-00000001 is used instead") as told:
        CheckpointStore(tmp_path, disk=Late()).load()
    assert "set aside" not in str(told[0].message)
    assert CheckpointStore(tmp_path).verify("step-00000002") == []


# ---- folders of all kinds ------------------------------------------------------------------------


def test_a_link_to_the_folder_is_as_good_as_the_folder(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "s").symlink_to(tmp_path / "scratch")
    with CheckpointStore(tmp_path / "s", keep=[last(2)]) as store:
        frozen = {"f": np.arange(1000.0)}
        for step in (1, 2):
            store.save({"frozen": frozen, "step": step}, step=step)
        files = (tmp_path / "scratch").glob("step-*/frozen.safetensors")
        assert len({path.stat().st_ino for path in files}) == 1
        assert store.load()["step"] == 2
        store.clear()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert (tmp_path / "s").is_symlink()


def test_a_parent_that_may_not_be_read_is_no_obstacle(tmp_path):
    (tmp_path / "s").mkdir()

    class Hidden(Disk):
        def sync_folder(self, path):
            if path == tmp_path:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            super().sync_folder(path)

    with CheckpointStore(tmp_path / "s", disk=Hidden()) as store:
        save(store, 1)
        assert store.load()["step"] == 1


class InUse(Disk):
    """A folder stays while a file of it is open elsewhere, as with NFS."""

    error = errno.ENOTEMPTY

    def remove_folder(self, path):
        if self.error and path.name.startswith(".trash"):
            raise OSError(self.error, os.strerror(self.error), str(path))
        super().remove_folder(path)


@pytest.mark.parametrize("error", [errno.ENOTEMPTY, errno.EBUSY, errno.EACCES, errno.EPERM])
def test_an_old_checkpoint_that_is_in_use_does_not_end_the_training(tmp_path, error):
    disk = InUse()
    disk.error = error
    with CheckpointStore(tmp_path, keep=[last(1)], disk=disk) as store:
        save(store, 1)
        with pytest.warns(RuntimeWarning, match=r"\.trash-step-00000001' cannot be removed now"):
            save(store, 2)
        with pytest.warns(RuntimeWarning, match="it is left to a later save"):
            save(store, 3)
        assert [c.step for c in store.checkpoints()] == [3]
        assert store.load()["step"] == 3
        disk.error = 0
        save(store, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".lock",
        "last.json",
        "step-00000004",
    ]


def test_parts_are_asked_for_by_their_keys_whatever_is_in_them(tmp_path):
    tree = {"a/b": {"x": np.ones(2)}, "c%": {"x": np.ones(3)}, "..": [np.ones(1)], "d": 1}
    with CheckpointStore(tmp_path, keep=[best(1, "loss")]) as store:
        store.save(tree, step=1)
        for key, value in tree.items():
            np.testing.assert_equal(store.load(only=[key]), {key: value})
