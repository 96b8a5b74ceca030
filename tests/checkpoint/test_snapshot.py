"""Copies of state in memory that is used again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from callboard.checkpoint.keep import Checkpoint, best, every, last, surplus
from callboard.checkpoint.snapshot import Buffers


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
    monkeypatch.setattr("callboard.checkpoint.snapshot._CHUNK", 8192)
    array = np.arange(5000.0)
    array.flags.writeable = False
    for tree in ({"a": {"w": array}}, {"a": {"w": array.copy()}}):
        image = Buffers().snapshot(tree).files[0]
        sizes = [len(chunk) for chunk in image.chunks()]
        assert sum(sizes) == image.size
        assert all(size == 8192 for size in sizes[:-1])


SAVED = st.lists(
    st.tuples(st.integers(0, 50), st.floats(0, 1) | st.just(float("nan"))), min_size=1, max_size=20
).map(
    lambda pairs: [
        Checkpoint(f"c{n}", n, step, step // 3, {"loss": value}, float(n))
        for n, (step, value) in enumerate(pairs)
    ]
)
RULES = [last(1), last(3), best(2, "loss"), every(steps=7), every(epochs=2), every(seconds=2.5)]


@given(SAVED, st.lists(st.sampled_from(RULES), max_size=4))
def test_the_newest_is_never_surplus_and_rules_add_up(saved, rules):
    gone = surplus(saved, rules)
    assert saved[-1] not in gone
    kept = {c.name for c in saved} - {c.name for c in gone}
    single = [{c.name for c in saved} - {c.name for c in surplus(saved, [r])} for r in rules]
    assert kept == (set().union(*single) if rules else {c.name for c in saved})


@given(SAVED, st.sampled_from(RULES[3:5]))
def test_what_is_kept_for_ever_stays_when_more_comes(saved, rule):
    ordered = sorted(saved, key=lambda c: c.step)
    for count in range(1, len(ordered)):
        kept = {c.name for c in rule(ordered[:count])}
        assert kept <= {c.name for c in rule(ordered[: count + 1])}


@given(SAVED)
def test_the_best_have_no_better_one_outside(saved):
    chosen = best(2, "loss")(saved)
    values = [c.metrics["loss"] for c in saved if c.metrics["loss"] == c.metrics["loss"]]
    assert [c.metrics["loss"] for c in chosen] == sorted(values)[:2]
