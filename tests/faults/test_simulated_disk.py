"""The simulated disk does what a real one does, and loses what a real one may lose."""

import contextlib
import errno
import itertools
import sys
import tempfile
from pathlib import Path

import pytest
import simulated_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_disk import BLOCK, EXHAUSTIVE, PowerCut, SimulatedDisk

from callboard._core.fs import Disk

ROOT, FILE = Path("/"), Path("/x")


@pytest.fixture
def disk():
    return SimulatedDisk()


def write(disk, path, data, *, sync=False):
    file = disk.create(path)
    file.write(memoryview(data))
    if sync:
        file.sync()
    file.close()
    return file


def read(disk, path):
    try:
        with disk.open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def found(disk, path, at=None):
    return {read(state, path) for state in disk.crash_states(at)}


def names_found(disk, folder=ROOT, at=None):
    return {" ".join(state.names(folder)) for state in disk.crash_states(at)}


# ---- what may be lost ----------------------------------------------------------------------------


def test_what_is_in_a_file_is_there_lost_or_torn_until_it_is_synced(disk):
    file = write(disk, FILE, b"a" * BLOCK)
    disk.sync_folder(ROOT)
    half = b"a" * (BLOCK // 2) + bytes(BLOCK // 2)
    assert found(disk, FILE) == {b"", bytes(BLOCK), half, b"a" * BLOCK}
    file.sync()
    assert found(disk, FILE) == {b"a" * BLOCK}


def test_of_a_file_that_grows_what_was_synced_stays(disk):
    file = write(disk, FILE, b"a" * 10, sync=True)
    disk.sync_folder(ROOT)
    file.write(memoryview(b"b" * (BLOCK - 10)))
    short = b"a" * 10
    half = b"a" * 10 + b"b" * (BLOCK // 2 - 10) + bytes(BLOCK // 2)
    whole = b"a" * 10 + b"b" * (BLOCK - 10)
    assert found(disk, FILE) == {short, short + bytes(BLOCK - 10), half, whole}


def test_few_blocks_are_lost_in_every_combination(disk):
    write(disk, FILE, b"a" * BLOCK * EXHAUSTIVE)
    disk.sync_folder(ROOT)
    block = {"there": b"a" * BLOCK, "lost": bytes(BLOCK)}
    block["torn"] = b"a" * (BLOCK // 2) + bytes(BLOCK // 2)
    expected = {
        b"".join(chosen)
        for count in range(EXHAUSTIVE + 1)
        for chosen in itertools.product(block.values(), repeat=count)
    }
    assert found(disk, FILE) == expected


def test_of_many_blocks_each_one_and_each_two_are_lost(disk):
    count = EXHAUSTIVE + 3
    blocks = [bytes([1 + number]) * BLOCK for number in range(count)]
    write(disk, FILE, b"".join(blocks))
    disk.sync_folder(ROOT)
    states = found(disk, FILE)

    def without(*lost):
        return b"".join(bytes(BLOCK) if i in lost else block for i, block in enumerate(blocks))

    assert {b"", without(), without(*range(count))} <= states
    for one in range(count):
        assert without(one) in states
        assert without(*(other for other in range(count) if other != one)) in states
        assert b"".join(blocks[:one]) in states
        torn = blocks[one][: BLOCK // 2] + bytes(BLOCK // 2)
        assert b"".join([*blocks[:one], torn, *blocks[one + 1 :]]) in states
    for two in itertools.combinations(range(count), 2):
        assert without(*two) in states


def test_two_files_are_lost_independently(disk):
    for name in "ab":
        write(disk, ROOT / name, b"1")
    disk.sync_folder(ROOT)
    states = {(read(s, ROOT / "a"), read(s, ROOT / "b")) for s in disk.crash_states()}
    assert states == set(itertools.product([b"", b"\0", b"1"], repeat=2))


def test_each_state_is_given_once(disk):
    write(disk, FILE, b"a" * BLOCK * 3)
    keys = [state.key() for state in disk.crash_states()]
    assert len(keys) == len(set(keys))


def test_more_states_than_the_limit_are_an_error(disk, monkeypatch):
    write(disk, FILE, b"a" * BLOCK * EXHAUSTIVE)
    count = len(list(disk.crash_states()))
    monkeypatch.setattr(simulated_disk, "LIMIT", count)
    assert len(list(disk.crash_states())) == count
    monkeypatch.setattr(simulated_disk, "LIMIT", count - 1)
    with pytest.raises(OverflowError, match=rf"more than {count - 1} states after 2 operations"):
        list(disk.crash_states())


def test_names_survive_in_their_order(disk):
    for name in "abc":
        write(disk, ROOT / name, b"", sync=True)
    assert names_found(disk) == {"", "a", "a b", "a b c"}
    disk.sync_folder(ROOT)
    assert names_found(disk) == {"a b c"}
    disk.remove(ROOT / "b")
    disk.rename(ROOT / "a", ROOT / "d")
    assert names_found(disk) == {"a b c", "a c", "c d"}


@pytest.mark.parametrize(
    ("ordered", "expected"),
    [
        (True, {("a", "", ""), ("a", "1", ""), ("a b", "1", ""), ("a b", "1", "2")}),
        (
            False,
            {("a", "", ""), ("a", "1", ""), ("a b", "", ""), ("a b", "1", "")}
            | {("a b", "", "2"), ("a b", "1", "2")},
        ),
    ],
)
def test_names_of_different_folders_keep_their_order_in_a_journal(ordered, expected):
    disk = SimulatedDisk(ordered=ordered)
    a, b = ROOT / "a", ROOT / "b"
    disk.make_folder(a)
    write(disk, a / "1", b"", sync=True)
    disk._change("make_folder", b, ("b", disk._next_inode()))  # without the sync
    write(disk, b / "2", b"", sync=True)

    def inside(state, folder):
        return " ".join(state.names(folder)) if state.is_folder(folder) else ""

    assert {
        (inside(state, ROOT), inside(state, a), inside(state, b)) for state in disk.crash_states()
    } == expected


@pytest.mark.parametrize("ordered", [True, False])
def test_syncing_a_folder_takes_earlier_names_elsewhere_along_in_a_journal_only(ordered):
    disk = SimulatedDisk(ordered=ordered)
    disk.make_folder(ROOT / "a")
    write(disk, ROOT / "a" / "1", b"", sync=True)
    write(disk, ROOT / "b", b"", sync=True)
    disk.sync_folder(ROOT)
    assert names_found(disk, ROOT / "a") == ({"1"} if ordered else {"", "1"})


def test_syncing_a_file_does_not_keep_its_name(disk):
    write(disk, FILE, b"a", sync=True)
    assert found(disk, FILE) == {None, b"a"}


def test_a_folder_and_those_above_it_are_made_durably(disk):
    disk.make_folder(ROOT / "a" / "b")
    assert [state.names(ROOT / "a") for state in disk.crash_states()] == [["b"]]
    before = len(disk.operations)
    disk.make_folder(ROOT / "a" / "b")
    assert len(disk.operations) == before


def test_a_rename_may_come_before_the_data(disk):
    old, new = ROOT / "old", ROOT / "new"
    write(disk, new, b"1", sync=True)
    write(disk, old, b"2")
    disk.sync_folder(ROOT)
    disk.rename(old, new)
    assert found(disk, new) == {b"1", b"2", b"", b"\0"}
    assert names_found(disk) == {"new old", "new"}


def test_two_names_of_one_file_share_what_is_lost(disk):
    other = ROOT / "y"
    file = write(disk, FILE, b"1")
    disk.link(FILE, other)
    disk.sync_folder(ROOT)
    states = {(read(state, FILE), read(state, other)) for state in disk.crash_states()}
    assert states == {(b"", b""), (b"\0", b"\0"), (b"1", b"1")}
    file.sync()
    disk.remove(FILE)
    disk.sync_folder(ROOT)
    assert found(disk, other) == {b"1"}
    assert disk.inode(other) == next(disk.crash_states()).inode(other)


def test_every_moment_has_its_states(disk):
    write(disk, FILE, b"1", sync=True)
    disk.sync_folder(ROOT)
    disk.remove(FILE)
    assert [operation.kind for operation in disk.operations] == [
        *("create", "write", "sync", "sync_folder", "remove"),
    ]
    expected = [{None}, {None, b""}, {None, b"", b"\0", b"1"}, {None, b"1"}, {b"1"}, {None, b"1"}]
    assert [found(disk, FILE, at) for at in range(6)] == expected
    assert found(disk, FILE) == expected[-1]


def test_a_state_is_a_disk_of_its_own(disk):
    write(disk, FILE, b"1", sync=True)
    disk.sync_folder(ROOT)
    [state] = disk.crash_states()
    state.remove(FILE)
    assert found(state, FILE) == {None, b"1"}
    assert found(disk, FILE) == {b"1"}


def test_a_killed_process_loses_nothing_and_a_later_power_cut_may(disk):
    write(disk, FILE, b"1")
    write(disk, ROOT / "y", b"")
    left = disk.killed(at=2)
    assert read(left, FILE) == b"1"
    assert left.names(ROOT) == ["x"]
    assert found(left, FILE) == {None, b"", b"\0", b"1"}
    left.sync_folder(ROOT)
    assert found(left, FILE) == {b"", b"\0", b"1"}


def test_a_bad_disk_damages_every_name_of_a_file(disk):
    write(disk, FILE, b"ab", sync=True)
    disk.link(FILE, ROOT / "y")
    disk.sync_folder(ROOT)
    disk.damage(FILE, 1)
    assert read(disk, ROOT / "y") == b"ac"
    assert found(disk, FILE) == {b"ac"}


# ---- faults --------------------------------------------------------------------------------------


def test_an_operation_fails_on_demand_and_the_next_one_works(disk):
    disk.fail_at(1, OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="full"):
        disk.create(FILE)
    assert disk.names(ROOT) == []
    write(disk, FILE, b"1")
    assert disk.names(ROOT) == ["x"]


def test_half_of_a_write_that_fails_is_done(disk):
    file = disk.create(FILE)
    disk.fail_at(2, OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="full"):
        file.write(memoryview(b"abcd"))
    assert read(disk, FILE) == b"ab"


def test_after_a_sync_that_failed_another_one_saves_nothing(disk):
    file = write(disk, FILE, b"1")
    disk.sync_folder(ROOT)
    disk.fail_at(4, OSError(errno.EIO, "broken"))
    with pytest.raises(OSError, match="broken"):
        file.sync()
    file.sync()
    assert found(disk, FILE) == {b"", b"\0", b"1"}


def test_a_killed_process_does_nothing_more(disk):
    disk.kill_at(2)
    file = disk.create(FILE)
    for _ in range(2):
        with pytest.raises(PowerCut):
            file.write(memoryview(b"1"))
    with pytest.raises(PowerCut):
        disk.remove(FILE)
    assert read(disk, FILE) == b"1"
    assert len(disk.operations) == 2


def test_a_lock_is_held_by_one(disk):
    lock = ROOT / ".lock"
    with disk.locked(lock):
        assert disk.names(ROOT) == [".lock"]
        with pytest.raises(BlockingIOError), disk.locked(lock):
            pass
    with disk.locked(lock):
        pass


# ---- the same as the real one --------------------------------------------------------------------

PATHS = st.sampled_from(["a", "b", "a/c", "a/d", "b/c"])
CALLS = st.one_of(
    st.tuples(st.sampled_from(["create", "open", "names", "is_folder"]), PATHS),
    st.tuples(st.sampled_from(["make_folder", "remove", "remove_folder"]), PATHS),
    st.tuples(st.just("rename"), st.just("a"), st.just("b")),
    st.tuples(st.just("rename"), st.just("a/c"), st.just("a/d")),
    st.tuples(st.just("link"), PATHS, PATHS),
)


def outcome(disk, here, name, *paths):
    """Return what a call gives, or the number of its error."""
    where = [here / path for path in paths]
    try:
        if name == "create":
            return write(disk, where[0], "/".join(paths).encode(), sync=True) and None
        if name == "open":
            return read(disk, where[0])
        return getattr(disk, name)(*where)
    except OSError as error:
        return error.errno


def tree(disk, folder):
    for name in disk.names(folder):
        path = folder / name
        if disk.is_folder(path):
            yield name, list(tree(disk, path))
        else:
            yield name, disk.size(path), read(disk, path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems, other errors")
@given(calls=st.lists(CALLS, max_size=12))
@settings(derandomize=True, max_examples=300)
def test_it_does_what_the_real_one_does(calls):
    simulated, real = SimulatedDisk(), Disk()
    with tempfile.TemporaryDirectory() as folder:
        for call in calls:
            assert outcome(simulated, ROOT, *call) == outcome(real, Path(folder), *call), call
            assert list(tree(simulated, ROOT)) == list(tree(real, Path(folder)))


def test_every_operation_of_the_real_disk_is_simulated():
    operations = {name for name in vars(Disk) if not name.startswith("_")}
    assert operations <= vars(SimulatedDisk).keys()


def test_renaming_into_another_folder_is_refused_as_not_simulated(disk):
    disk.make_folder(ROOT / "a")
    write(disk, FILE, b"")
    with contextlib.closing(disk.open(FILE)), pytest.raises(NotImplementedError):
        disk.rename(FILE, ROOT / "a" / "x")
