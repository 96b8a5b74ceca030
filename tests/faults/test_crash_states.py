"""Whatever a power cut leaves: what was acknowledged is there, whole, and nothing else is."""

import contextlib
import errno
import json
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from simulated_disk import SimulatedDisk

from callboard import DamagedCheckpointError, NoCheckpointError
from callboard.checkpoint import CheckpointStore, best, every, last
from callboard.checkpoint import reader as reader_module
from callboard.checkpoint.manifest import digest_of
from callboard.checkpoint.removal import remove_folder

HERE = Path("/runs/a")
NOTES = HERE / "notes.txt"
FROZEN = np.arange(40.0)
FROZEN.flags.writeable = False


def tree_of(serial):
    return {
        "weights": {"w": np.full(30, serial, "f4"), "tied": None},
        "frozen": {"f": FROZEN},
        "note": {"serial": serial, "rate": 0.1 * serial},
    }


def is_same(tree, serial):
    expected = tree_of(serial)
    return (
        tree["note"] == expected["note"]
        and tree["weights"]["w"].tobytes() == expected["weights"]["w"].tobytes()
        and tree["weights"]["w"].dtype == np.float32
        and tree["frozen"]["f"].tobytes() == FROZEN.tobytes()
        and tree.keys() == expected.keys()
    )


def metrics_of(serial):
    return {"val_loss": serial * 7 % 5 + 1.0}


def quietly(action):
    """Do what warns of damaged checkpoints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return action()


# ---- what was done, and what has to be there after how many operations ---------------------------


class Moment(NamedTuple):
    """From so many operations on this is acknowledged; until then it is being done."""

    began: int
    done: int
    new: int | None
    kept: frozenset[int]


class Story:
    """Does something with a store, and writes down what it has to keep.

    Args:
        disk: The disk.
        keep: The rules of the store.
        kind: The store.
        kept: Serial numbers of what is there from the beginning.
    """

    def __init__(self, disk, keep=(), kind=CheckpointStore, kept=()):
        self.disk, self.keep, self.kind = disk, keep, kind
        self.steps = {serial: serial for serial in kept}
        self.damaged = set()  # names of checkpoints that were damaged on purpose
        self.moments = [Moment(0, 0, None, frozenset(kept))]
        self.open()

    def opened(self, disk=None, kind=CheckpointStore):
        return kind(HERE, keep=self.keep, disk=disk or self.disk, clock=lambda: 0.0)

    def open(self):
        self.store = self.opened(kind=self.kind)

    def save(self, serial, kept, step=None):
        step = self.steps[serial] = serial if step is None else step
        self._do(
            lambda: self.store.save(
                tree_of(serial), step=step, epoch=serial, metrics=metrics_of(serial)
            ),
            serial,
            kept,
        )

    def prune(self, rules, kept):
        self._do(lambda: self.store.prune(rules), None, kept)

    def clear(self):
        self._do(self.store.clear, None, ())

    def _do(self, action, new, kept):
        began = len(self.disk.operations)
        action()
        self.moments.append(Moment(began, len(self.disk.operations), new, frozenset(kept)))


def one_save(story):
    story.save(1, kept=[1])


def two_saves_and_a_link(story):
    story.save(1, kept=[1])
    story.save(2, kept=[1, 2])
    assert any(operation.kind == "link" for operation in story.disk.operations)


def the_last_is_kept(story):
    story.save(1, kept=[1])
    story.save(2, kept=[2])
    story.save(3, kept=[3])


def rules_that_combine(story):
    story.save(1, kept=[1])
    story.save(2, kept=[1, 2])
    story.save(3, kept=[2, 3])  # 2 is the first of every two steps, 3 is the best
    story.save(4, kept=[2, 3, 4])


def the_same_step_again(story):
    story.save(1, kept=[1])
    story.save(2, kept=[1, 2])
    story.save(3, step=2, kept=[1, 3])


def all_are_removed(story):
    story.save(1, kept=[1])
    story.save(2, kept=[1, 2])
    story.clear()


def pruned_by_hand(story):
    story.save(1, kept=[1])
    story.save(2, kept=[1, 2])
    story.prune([last(1)], kept=[2])


def gone_on_with(story):
    story.save(1, kept=[1])
    story.store.close()
    story.open()
    assert is_same(story.store.load(), 1)
    story.save(2, kept=[2])
    assert any(operation.kind == "link" for operation in story.disk.operations)


def gone_on_with_after_damage(story):
    with pytest.warns(RuntimeWarning, match="step-00000002"):
        assert is_same(story.store.load(), 1)
    story.save(3, kept=[1, 3])


def with_notes():
    """Return a disk with a file of the user's in the store's folder."""
    disk = SimulatedDisk()
    disk.make_folder(HERE)
    disk.create(NOTES).write(memoryview(b"mine"))
    return SimulatedDisk(disk)


def with_a_damaged_one():
    """Return a disk with two checkpoints; a bit of the newer one is wrong."""
    disk = with_notes()
    store = CheckpointStore(HERE, disk=disk)
    for serial in (1, 2):
        store.save(tree_of(serial), step=serial, epoch=serial, metrics=metrics_of(serial))
    weights = HERE / "step-00000002" / "weights.safetensors"
    disk.damage(weights, disk.size(weights) - 1)
    return SimulatedDisk(disk)


WORKLOADS = {
    "one save": (one_save, ()),
    "two saves and a link": (two_saves_and_a_link, ()),
    "the last is kept": (the_last_is_kept, [last(1)]),
    "rules that combine": (
        rules_that_combine,
        [last(1), best(1, "val_loss", "min"), every(steps=2)],
    ),
    "the same step again": (the_same_step_again, ()),
    "all are removed": (all_are_removed, ()),
    "pruned by hand": (pruned_by_hand, ()),
    "gone on with": (gone_on_with, [last(1)]),
    "gone on with after damage": (gone_on_with_after_damage, ()),
}


def told(name, make=SimulatedDisk, kind=CheckpointStore, *, ordered=False):
    """Return a story that was told to its end."""
    workload, keep = WORKLOADS[name]
    is_damaged = workload is gone_on_with_after_damage
    start = with_a_damaged_one() if is_damaged else with_notes()
    story = Story(make(start, ordered=ordered), keep, kind, kept=[1] * is_damaged)
    story.damaged = {"step-00000002"} if is_damaged else set()
    workload(story)
    return story


# ---- the oracle ----------------------------------------------------------------------------------


def whole(disk, damaged=()):
    """Return the serial numbers of what loads, each with its name; check each of them."""
    store = CheckpointStore(HERE, disk=disk)
    found = {}
    names = disk.names(HERE) if disk.is_folder(HERE) else []
    for name in (name for name in names if name.startswith("step-")):
        problems = store.verify(name)
        try:
            tree = store.load(name)
        except DamagedCheckpointError:
            assert problems, f"{name} does not load, and nothing is said to be wrong with it"
            assert name in damaged, f"{name} is half there under its name"
            continue
        serial = tree["note"]["serial"]
        assert is_same(tree, serial), f"{name} loads, and is not what was saved"
        assert not problems, f"{name} loads, and is said to be damaged: {problems}"
        found[serial] = name
    listed = {checkpoint.name: checkpoint for checkpoint in store.checkpoints()}
    assert set(found.values()) <= set(listed)
    for serial, name in found.items():
        assert (listed[name].epoch, listed[name].metrics) == (serial, metrics_of(serial))
    return found


def required(story, present, at):
    """Assert that what has to be there is, and that what was removed is not."""
    done = [moment for moment in story.moments if moment.done <= at][-1]
    doing = next((m for m in story.moments if m.began < at < m.done), None)
    must, may = done.kept, done.kept
    if doing is not None:
        may = done.kept | ({doing.new} - {None})
        if doing.new is None or doing.new in present:
            must = done.kept & doing.kept
    assert must <= present, f"{set(must - present)} had been saved and is lost"
    assert present <= may, f"{set(present - may)} had been removed and is back"
    if present and done.kept:
        assert max(present) >= max(done.kept), "what is left is not the newest"


def usable(story, disk, present):
    """Assert that the newest loads, and that saving goes on and tidies up."""
    store = story.opened(disk)
    before = disk.key()
    if present:
        checkpoint, tree = quietly(store.load_newest)
        assert checkpoint.name == present[max(present)]
        assert is_same(tree, max(present))
    else:
        with pytest.raises(NoCheckpointError):
            store.load()
        assert disk.key() == before
    for name in ("last.json", "best.json"):
        with contextlib.suppress(FileNotFoundError), disk.open(HERE / name) as file:
            assert json.loads(file.read())["checkpoint"].startswith("step-")
    saved = store.save(tree_of(99), step=99, epoch=99, metrics=metrics_of(99))
    assert is_same(quietly(store.load), 99)
    assert store.pointed_to("last") == saved.name
    left = [name for name in disk.names(HERE) if name.startswith((".tmp", ".trash"))]
    assert not left, f"{left} are left over"
    after = set(whole(disk, story.damaged))
    assert after <= {99, *present}
    newest_of_its_step = {story.steps.get(serial, serial): serial for serial in sorted(present)}
    assert story.keep or after == {99, *newest_of_its_step.values()}
    assert disk.open(NOTES).read() == b"mine"


def check(story):
    """Check every state after every operation; return how many different ones there were."""
    seen, recovered = set(), set()
    for at in range(len(story.disk.operations) + 1):
        acknowledged = sum(moment.done <= at for moment in story.moments)
        for state in story.disk.crash_states(at):
            key = state.key()
            if (key, acknowledged) in seen:
                continue
            seen.add((key, acknowledged))
            present = whole(state, story.damaged)
            required(story, present.keys(), at)
            if key not in recovered:
                recovered.add(key)
                usable(story, state, present)
    return len(recovered)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_state_after_a_power_cut_is_recovered_from(name):
    assert check(told(name)) > 50


def test_names_that_keep_their_order_only_within_a_folder_are_the_harder_case():
    for at in range(0, 60, 3):
        orders = []
        for ordered in (True, False):
            story = Story(SimulatedDisk(with_notes(), ordered=ordered), [last(1)])
            the_last_is_kept(story)
            orders.append({state.key() for state in story.disk.crash_states(at)})
        assert orders[0] <= orders[1]


# ---- twice -------------------------------------------------------------------------------------


def recovering(story, disk):
    """Save on; return the operations at which it was acknowledged."""
    store = story.opened(disk)
    with contextlib.suppress(NoCheckpointError):
        quietly(store.load_newest)
    store.save(tree_of(50), step=50, epoch=50, metrics=metrics_of(50))
    return len(disk.operations)


@pytest.mark.parametrize(
    ("name", "each"), [("the last is kept", 5), ("gone on with after damage", 1)]
)
def test_a_second_power_cut_while_recovering(name, each):
    story, seen = told(name), set()
    for at in range(len(story.disk.operations)):
        for state in list(story.disk.crash_states(at))[::each]:
            present = whole(state, story.damaged)
            if (state.key(), 0) in seen:
                continue
            seen.add((state.key(), 0))
            done = recovering(story, state)
            for second in range(1 + at % 4, done + 1, 4):
                for after in list(state.crash_states(second))[::4]:
                    if (after.key(), 1) not in seen:
                        seen.add((after.key(), 1))
                        now = whole(after, story.damaged)
                        assert 50 in now or present.keys() <= now.keys()
                        usable(story, after, now)
            assert all(50 in whole(after, story.damaged) for after in state.crash_states())
    assert len(seen) > 100


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_power_cut_after_a_process_was_killed_and_another_went_on(name):
    story = told(name, ordered=True)
    for at in range(len(story.disk.operations) + 1):
        disk = story.disk.killed(at)
        present = whole(disk, story.damaged)
        required(story, present.keys(), at)
        recovering(story, disk)
        for after in disk.crash_states():
            now = whole(after, story.damaged)
            assert 50 in now
            assert story.keep or set(now) >= {max(present, default=50)}


# ---- the disk says no ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("name", ["two saves and a link", "the last is kept"])
def test_an_error_at_any_operation_leaves_what_there_was_and_the_next_save_works(name, number):
    keep = WORKLOADS[name][1]
    whole_story = told(name)
    first, second = (moment.done for moment in whole_story.moments[1:3])
    for at in range(first + 1, second + 1):
        disk = SimulatedDisk(with_notes(), ordered=False)
        story = Story(disk, keep)
        story.save(1, kept=[1])
        disk.fail_at(at, OSError(number, os.strerror(number)))
        try:
            story.store.save(tree_of(2), step=2, epoch=2, metrics=metrics_of(2))
        except OSError as error:
            assert error.errno == number  # noqa: PT017 - not every operation is met
        present = whole(disk)
        assert max(present) == 2 or 1 in present
        for after in disk.crash_states():
            assert whole(after)
        story.store.save(tree_of(3), step=3, epoch=3, metrics=metrics_of(3))
        for after in disk.crash_states():
            assert 3 in whole(after)


# ---- the suite fails if one of the means is taken out --------------------------------------------


class WithoutFileSync(SimulatedDisk):
    def do(self, operation):
        super().do(replace(operation, kind="nothing") if operation.kind == "sync" else operation)


class WithoutFolderSync(SimulatedDisk):
    def do(self, operation):
        forgotten = operation.kind == "sync_folder"
        super().do(replace(operation, kind="nothing") if forgotten else operation)


class WithoutSyncOfTheCheckpointsFolder(SimulatedDisk):
    def sync_folder(self, path):
        if not path.name.startswith(".tmp-"):
            super().sync_folder(path)


class InPlace(SimulatedDisk):
    """Has files under the final name from the beginning."""

    def _inode(self, path):
        return super()._inode(self._final(path))

    def _change(self, kind, path, *names):
        path = self._final(path)
        return super()._change(kind, path, *((self._final(Path(n)).name, i) for n, i in names))

    def _final(self, path):
        marked = re.compile(r"\.tmp-(step-.*)-\d+")
        return Path(*(marked.sub(r"\1", part) for part in path.parts))


class RemovesInPlace(CheckpointStore):
    def _remove(self, checkpoints):
        for checkpoint in checkpoints:
            remove_folder(self._disk, self.path(checkpoint))


class RemovesFirst(CheckpointStore):
    """Removes the older ones before the new one is durable."""

    def write(self, snapshot, **options):
        self._claim.take()
        self._remove(self.checkpoints())
        return super().write(snapshot, **options)


class Accepted(str):
    """A digest that no other differs from."""

    __slots__ = ()
    __eq__ = str.__eq__
    __hash__ = str.__hash__

    def __ne__(self, other):
        return False


def accepting(*data):
    return Accepted(digest_of(*data))


@pytest.mark.parametrize(
    ("name", "make", "kind", "said"),
    [
        ("two saves and a link", WithoutFileSync, CheckpointStore, "is half there"),
        ("two saves and a link", WithoutFolderSync, CheckpointStore, "is lost"),
        ("one save", InPlace, CheckpointStore, "is half there"),
        ("the last is kept", SimulatedDisk, RemovesFirst, "is lost"),
        ("the last is kept", SimulatedDisk, RemovesInPlace, "is half there"),
    ],
    ids=["file sync", "folder sync", "rename", "order", "trash"],
)
def test_without_one_of_the_means_it_fails(name, make, kind, said):
    with pytest.raises(AssertionError, match=said):
        check(told(name, make, kind, ordered=True))


def test_without_the_sync_of_a_checkpoints_own_folder_it_fails_where_there_is_no_journal():
    check(told("one save", WithoutSyncOfTheCheckpointsFolder, ordered=True))
    with pytest.raises(AssertionError, match="is half there"):
        check(told("one save", WithoutSyncOfTheCheckpointsFolder, ordered=False))


def test_without_digests_it_fails(monkeypatch):
    monkeypatch.setattr(reader_module, "digest_of", accepting)
    story = Story(with_a_damaged_one(), kept=[1])
    story.save(3, kept=[1, 3])
    with pytest.raises(AssertionError, match="is not what was saved"):
        check(story)
