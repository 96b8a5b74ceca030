"""Rules that say which checkpoints to keep."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import ConfigurationError
from callboard.checkpoint.keep import Checkpoint, best, every, last, surplus

LOSSES = st.floats(0, 1) | st.sampled_from([math.nan, math.inf, -math.inf, None])


def checkpoints(pairs, times=None):
    """Return checkpoints in the order of their saves."""
    return [
        Checkpoint(
            f"c{number}",
            number,
            step,
            step // 3,
            {} if value is None else {"loss": value},
            float(number if times is None else times[number]),
        )
        for number, (step, value) in enumerate(pairs)
    ]


SAVED = st.lists(st.tuples(st.integers(0, 50), LOSSES), min_size=1, max_size=20).map(checkpoints)
CLOCKS = st.lists(st.floats(-1e4, 1e4), min_size=12, max_size=12)
RULES = [last(1), last(3), best(2, "loss"), every(steps=7), every(epochs=2), every(seconds=2.5)]
FOR_EVER = RULES[3:]


def named(saved):
    return {checkpoint.name for checkpoint in saved}


def kept(saved, rules):
    return named(saved) - named(surplus(saved, rules))


def pruned_after_each(saved, rules):
    """Return what is left when the rules are asked after every save, as a store asks them."""
    there = []
    for checkpoint in saved:
        there.append(checkpoint)
        gone = named(surplus(there, rules))
        there = [each for each in there if each.name not in gone]
    return named(there)


@given(SAVED, st.lists(st.sampled_from(RULES), max_size=4))
def test_the_newest_is_never_surplus(saved, rules):
    assert saved[-1] not in surplus(saved, rules)


@given(SAVED, st.lists(st.sampled_from(RULES), max_size=4), st.lists(st.sampled_from(RULES)))
def test_rules_add_up_and_one_more_never_removes(saved, rules, more):
    single = [kept(saved, [rule]) for rule in rules]
    assert kept(saved, rules) == (set().union(*single) if rules else named(saved))
    if rules:
        assert kept(saved, rules) <= kept(saved, rules + more)


@given(SAVED, st.lists(st.sampled_from(RULES), min_size=1, max_size=4))
def test_asking_once_more_removes_nothing(saved, rules):
    gone = named(surplus(saved, rules))
    assert surplus([c for c in saved if c.name not in gone], rules) == []


@given(SAVED, st.lists(st.sampled_from(RULES), min_size=1, max_size=4))
def test_removing_after_each_save_comes_to_the_same_as_once_at_the_end(saved, rules):
    assert pruned_after_each(saved, rules) == kept(saved, rules)


@given(CLOCKS, st.lists(st.sampled_from(RULES), min_size=1, max_size=3))
def test_a_clock_that_jumps_changes_nothing_of_that(times, rules):
    saved = checkpoints([(step, 0.5) for step in range(12)], times)
    assert pruned_after_each(saved, rules) == kept(saved, rules)
    assert "c11" in kept(saved, rules)


@given(SAVED, st.sampled_from(FOR_EVER))
def test_what_is_kept_for_ever_stays_when_more_comes(saved, rule):
    results = [named(rule(saved[: count + 1])) for count in range(len(saved))]
    assert all(before <= after for before, after in pairwise(results))


@given(SAVED, st.randoms(use_true_random=False), st.lists(st.sampled_from(RULES), max_size=4))
def test_the_order_they_are_given_in_does_not_matter(saved, random, rules):
    mixed = random.sample(saved, len(saved))
    assert surplus(mixed, rules) == surplus(saved, rules)
    numbers = [checkpoint.number for checkpoint in surplus(mixed, rules)]
    assert numbers == sorted(numbers)


@given(SAVED, st.integers(1, 25))
def test_the_last_are_those_with_the_highest_numbers(saved, count):
    assert kept(saved, [last(count)]) == named(saved[-count:])


@given(SAVED, st.integers(1, 4), st.sampled_from(["min", "max"]))
def test_the_best_have_no_better_one_outside(saved, count, mode):
    chosen = best(count, "loss", mode)(saved)
    values = [c.metrics["loss"] for c in saved if math.isfinite(c.metrics.get("loss", math.nan))]
    ordered = sorted(values, reverse=mode == "max")
    assert [c.metrics["loss"] for c in chosen] == ordered[:count]


def test_of_equal_ones_the_older_is_the_best():
    saved = checkpoints([(1, 0.5), (2, 0.2), (3, 0.2), (4, 0.2)])
    assert [c.step for c in best(2, "loss")(saved)] == [2, 3]
    assert kept(saved, [best(1, "loss")]) == {"c1", "c3"}


def test_without_the_metric_none_is_the_best():
    saved = checkpoints([(1, None), (2, math.nan), (3, math.inf)])
    assert best(3, "loss")(saved) == []
    assert kept(saved, [best(3, "loss")]) == {"c2"}


@pytest.mark.parametrize(
    ("monitor", "mode", "steps"),
    [
        ("loss", "auto", [1]),
        ("val_accuracy", "auto", [3]),
        ("loss", "max", [3]),
        ("val_accuracy", "min", [1]),
    ],
)
def test_the_direction_is_known_from_the_name_or_given(monitor, mode, steps):
    saved = [Checkpoint(f"c{n}", n, n, n, {monitor: n / 10}) for n in (1, 2, 3)]
    assert [c.step for c in best(1, monitor, mode)(saved)] == steps


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        (every(steps=10), [10, 25, 30]),  # 25: the first after 20
        (every(epochs=2), [9, 18, 25]),  # epochs 2, 4 and 6
        (every(seconds=10), [0, 10, 25, 30]),
    ],
    ids=["steps", "epochs", "seconds"],
)
def test_every_keeps_the_first_after_each_period(rule, steps):
    saved = [Checkpoint(f"c{n}", n, n, n // 4, {}, 100.0 + n) for n in (0, 3, 9, 10, 12, 18)]
    saved += [Checkpoint(f"c{n}", n, n, n // 4, {}, 100.0 + n) for n in (25, 29, 30)]
    assert [c.step for c in rule(saved)] == steps


@pytest.mark.parametrize("rules", [[], [last(2)], RULES])
def test_of_none_and_of_one_nothing_is_surplus(rules):
    assert surplus([], rules) == []
    assert surplus(checkpoints([(5, 0.1)]), rules) == []


def test_a_rule_may_be_any_function():
    saved = checkpoints([(step, None) for step in range(6)])
    assert kept(saved, [lambda saved: [c for c in saved if c.step % 2]]) == {"c1", "c3", "c5"}
    assert kept(saved, [lambda saved: ()]) == {"c5"}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: last(0), r"last\(0\): keep at least 1"),
        (lambda: best(0, "loss"), r"best\(0, \.\.\.\): keep at least 1"),
        (lambda: best(1, "loss", "lowest"), "lowest"),
        (lambda: best(1, "speed_of_light"), "speed_of_light"),
        (every, "takes one positive period"),
        (lambda: every(steps=1, epochs=1), "epochs=1, steps=1"),
        (lambda: every(seconds=-1), "seconds=-1"),
    ],
    ids=["last", "best", "mode", "direction", "no period", "two periods", "negative"],
)
def test_impossible_rules_are_errors_that_say_what_was_given(make, told):
    with pytest.raises(ConfigurationError, match=told):
        make()
