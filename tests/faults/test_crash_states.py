"""Whatever a power cut leaves: what was saved is there, whole, and nothing else loads as good."""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import pytest

from callboard import CallboardError, NoCheckpointError
from callboard.checkpoint import CheckpointStore, best, every, last
from callboard.checkpoint import store as store_module
from callboard.checkpoint.keep import surplus

HERE = Path("/runs/a")
FROZEN = np.arange(40.0)


def tree_of(step):
    return {
        "weights": {"w": np.full(30, step, "f4"), "tied": None},
        "frozen": {"f": FROZEN},
        "note": f"step {step}",
    }


def same(tree, step):
    expected = tree_of(step)
    return (
        tree["note"] == expected["note"]
        and np.array_equal(tree["weights"]["w"], expected["weights"]["w"])
        and np.array_equal(tree["frozen"]["f"], FROZEN)
    )


def metrics_of(step):
    return {"val_loss": (step * 7) % 5 + 1.0}


class Workload:
    """Some saves, and what has been acknowledged when."""

    def __init__(self, steps, keep=(), *, clear=False, kind=CheckpointStore):
        self.steps, self.keep, self.clear, self.kind = steps, keep, clear, kind

    def run(self, disk):
        """Do it; return pairs of operations done and the step that was acknowledged by then."""
        acknowledged = []
        store = self.kind(HERE, keep=self.keep, disk=disk, clock=lambda: 0.0)
        for step in self.steps:
            store.save(tree_of(step), step=step, epoch=step, metrics=metrics_of(step))
            acknowledged.append((disk.operations, step))
        if self.clear:
            store.clear()
            acknowledged.append((disk.operations, None))
        return acknowledged

    def kept(self, steps):
        """Return the steps that the rules keep after these were saved."""
        saved = []
        for number, step in enumerate(steps, 1):
            saved.append(store_module.Checkpoint(str(step), number, step, step, metrics_of(step)))
            gone = {checkpoint.name for checkpoint in surplus(saved, self.keep)}
            saved = [checkpoint for checkpoint in saved if checkpoint.name not in gone]
        return {checkpoint.step for checkpoint in saved}

    def holds(self, whole, count):
        """Say whether enough is whole when so many saves were acknowledged.

        Until the next save is durable, what the rules kept before; then what they keep with it.
        """
        if self.clear and count >= len(self.steps):
            return True  # all are being removed
        return any(self.kept(self.steps[:n]) <= whole for n in (count, count + 1))


WORKLOADS = {
    "one save": Workload([1]),
    "two saves": Workload([1, 2]),
    "the last is kept": Workload([1, 2, 3], [last(1)]),
    "rules that combine": Workload(
        [1, 2, 3, 4], [last(1), best(1, "val_loss", "min"), every(steps=2)]
    ),
    "the same step again": Workload([1, 2, 2]),
    "all are removed": Workload([1, 2], clear=True),
}


def durability(workload, count, disk):
    """Assert that what was acknowledged is there."""
    store = CheckpointStore(HERE, disk=disk)
    whole = {c.step for c in store.checkpoints() if not store.verify(c)}
    saved = workload.steps[:count]
    names = disk.names(HERE) if disk.is_folder(HERE) else []
    half = [name for name in names if name.startswith("step-") and store.verify(name)]
    assert not half, f"{half} are half there under their names"
    assert workload.holds(whole, count), f"{saved} had been saved, and of them is lost: {whole}"
    if saved and not workload.clear:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            checkpoint, _ = store.load_newest()
        assert checkpoint.step in workload.steps[count - 1 : count + 1]


def integrity(workload, disk):
    """Assert that nothing loads but what was saved, and that saving goes on."""
    store = CheckpointStore(HERE, keep=workload.keep, disk=disk)
    for checkpoint in store.checkpoints():
        try:
            tree = store.load(checkpoint)
        except CallboardError:
            continue
        assert same(tree, checkpoint.step), f"{checkpoint.name} loads, and is not what was saved"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            checkpoint, tree = store.load_newest()
        assert same(tree, checkpoint.step)
    except CallboardError:
        pass
    store.save(tree_of(99), step=99, epoch=99, metrics=metrics_of(99))
    assert same(store.load(), 99)
    assert not [name for name in disk.names(HERE) if name.startswith((".tmp", ".trash"))]


def cuts(workload, make):
    """Yield for each operation the disk as it was cut off there, and the saves acknowledged."""
    whole = make()
    acknowledged = workload.run(whole)
    for operation in range(1, whole.operations + 1):
        disk = make()
        disk.cut_after = operation
        with pytest.raises(BaseException, match=r".") as ended:
            workload.run(disk)
        assert type(ended.value).__name__ == "PowerCut"
        yield disk, sum(done < operation for done, step in acknowledged if step is not None)


def check(workload, make, *, durable=True):
    """Check every state after every operation; return how many there were."""
    count, seen = 0, set()
    for disk, acknowledged in cuts(workload, make):
        for state in disk.crash_states():
            key = (acknowledged, state.key())
            if key in seen:
                continue
            seen.add(key)
            count += 1
            if durable:
                durability(workload, acknowledged, state)
            integrity(workload, state)
    return count


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_state_after_a_power_cut_is_recovered_from(name, simulated):
    assert check(WORKLOADS[name], simulated.SimulatedDisk) > 50


def test_a_second_power_cut_while_recovering(simulated):
    workload = WORKLOADS["the last is kept"]
    for number, (disk, acknowledged) in enumerate(cuts(workload, simulated.SimulatedDisk)):
        if number % 7:
            continue
        for state in list(disk.crash_states())[::7]:
            for operation in range(1, 40, 5):
                again = simulated.SimulatedDisk(state.tree)
                again.cut_after = operation
                recovering = CheckpointStore(HERE, keep=workload.keep, disk=again)
                with contextlib.suppress(simulated.PowerCut):
                    recovering.save(tree_of(50), step=50, epoch=50, metrics=metrics_of(50))
                for after in again.crash_states():
                    store = CheckpointStore(HERE, disk=after)
                    whole = {c.step for c in store.checkpoints() if not store.verify(c)}
                    assert workload.holds(whole, acknowledged) or 50 in whole
                    integrity(workload, after)


# ---- the suite fails if one of the means is taken out --------------------------------------------


class EarlyRemoval(CheckpointStore):
    """Removes before the new one is durable."""

    def write(self, snapshot, **options):
        self._begin()
        self._remove(self.checkpoints())
        return super().write(snapshot, **options)


def test_without_syncing_files_it_fails(simulated, monkeypatch):
    monkeypatch.setattr(simulated._File, "sync", lambda self: self._disk._did("nothing"))
    with pytest.raises(AssertionError, match=r"is lost|are half there"):
        check(WORKLOADS["two saves"], simulated.SimulatedDisk)


def test_without_syncing_folders_it_fails(simulated):
    class Forgetful(simulated.SimulatedDisk):
        def sync_folder(self, path):
            self._did("nothing")

    with pytest.raises(AssertionError, match="had been saved, and of them is lost"):
        check(WORKLOADS["two saves"], Forgetful)


def test_without_the_rename_it_fails(simulated):
    class InPlace(simulated.SimulatedDisk):
        """Writes under the final name from the beginning."""

        def _final(self, path):
            parts = [
                p[5:].rsplit("-", 1)[0] if p.startswith(".tmp-step") else p for p in path.parts
            ]
            return Path(*parts)

        def make_folder(self, path):
            super().make_folder(self._final(path))

        def create(self, path, *, direct=False):
            return super().create(self._final(path))

        def link(self, source, target):
            super().link(source, self._final(target))

        def sync_folder(self, path):
            super().sync_folder(self._final(path))

        def rename(self, source, target):
            if self._final(source) != target:
                super().rename(source, target)

    with pytest.raises(AssertionError, match="are half there under their names"):
        check(WORKLOADS["the last is kept"], InPlace)


def test_without_digests_what_was_never_saved_loads_as_good(simulated, monkeypatch):
    monkeypatch.setattr(simulated._File, "sync", lambda self: self._disk._did("nothing"))
    check(WORKLOADS["one save"], simulated.SimulatedDisk, durable=False)  # a disk that lies: told

    def unverified(self, name, file, entry):
        with self._disk.open(HERE / name / file) as opened:
            return np.frombuffer(opened.read().ljust(entry.size, b"\0"), np.uint8)

    monkeypatch.setattr(CheckpointStore, "_content", unverified)
    with pytest.raises(AssertionError, match="is not what was saved"):
        check(WORKLOADS["one save"], simulated.SimulatedDisk, durable=False)


def test_if_old_ones_go_first_it_fails(simulated):
    workload = Workload([1, 2], [last(1)], kind=EarlyRemoval)
    with pytest.raises(AssertionError, match="had been saved, and of them is lost"):
        check(workload, simulated.SimulatedDisk)


# ---- the disk itself -----------------------------------------------------------------------------


def contents(disk, path):
    found = set()
    for state in disk.crash_states():
        try:
            found.add(state.open(path).getvalue())
        except FileNotFoundError:
            found.add(None)
    return found


def test_a_new_file_may_be_lost_empty_torn_or_there(simulated):
    disk, path = simulated.SimulatedDisk(), Path("/x")
    file = disk.create(path)
    file.write(memoryview(b"a" * 100))
    found = contents(disk, path)
    assert {None, b"", b"a" * 100, b"\0" * 100, b"a" * 64, b"a" * 64 + b"\0" * 36} <= found
    file.sync()
    assert contents(disk, path) == {None, b"a" * 100}
    disk.sync_folder(Path("/"))
    assert contents(disk, path) == {b"a" * 100}


def test_a_rename_may_come_before_the_data(simulated):
    disk, old, new = simulated.SimulatedDisk(), Path("/old"), Path("/new")
    for path, data in ((new, b"1"), (old, b"2")):
        file = disk.create(path)
        file.write(memoryview(data))
        if path == new:
            file.sync()
    disk.sync_folder(Path("/"))
    disk.rename(old, new)
    assert contents(disk, new) == {b"1", b"2", b"", b"\0"}


def test_names_become_durable_in_their_order(simulated):
    disk = simulated.SimulatedDisk()
    for name in "abc":
        disk.create(Path("/") / name)
    found = {tuple(state.names(Path("/"))) for state in disk.crash_states()}
    assert found == {(), ("a",), ("a", "b"), ("a", "b", "c")}


def test_an_error_of_the_disk_leaves_the_older_ones(simulated):
    whole = simulated.SimulatedDisk()
    workload = Workload([1, 2], [last(1)])
    before = workload.run(whole)[0][0]
    for operation in range(before + 1, whole.operations):
        disk = simulated.SimulatedDisk()
        disk.fail_with[operation] = OSError(28, "No space left on device")
        try:
            workload.run(disk)
        except OSError:
            durability(workload, 1, disk)
            integrity(workload, disk)


def test_an_empty_folder_has_no_checkpoint(simulated):
    with pytest.raises(NoCheckpointError):
        CheckpointStore(HERE, disk=simulated.SimulatedDisk()).load()
