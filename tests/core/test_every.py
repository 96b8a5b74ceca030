import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import ConfigurationError, Every

COUNTS = st.lists(st.integers(1, 30), max_size=40).map(
    lambda gaps: [sum(gaps[: i + 1]) for i in range(len(gaps))]
)


@given(st.integers(1, 20), COUNTS, st.sampled_from(["step", "epoch"]))
def test_due_once_whenever_a_multiple_was_passed(amount, counts, unit):
    every = Every(f"{amount} {unit}s")
    before = 0
    for count in counts:
        passed = any(n % amount == 0 for n in range(before + 1, count + 1))
        assert every.due(**{unit: count}) is passed
        before = count


@given(st.integers(1, 20), COUNTS, st.integers(0, 40))
def test_continues_from_its_state_in_a_fresh_object(amount, counts, cut):
    whole, first, second = (Every(f"{amount} steps") for _ in range(3))
    expected = [whole.due(step=c) for c in counts]
    got = [first.due(step=c) for c in counts[:cut]]
    second.load_state_dict(first.state_dict())
    assert got + [second.due(step=c) for c in counts[cut:]] == expected


@given(st.integers(1, 100), st.lists(st.floats(0, 50), max_size=30))
def test_periods_of_time_are_counted_from_the_last_time_it_was_due(seconds, waits):
    now = [1000.0]
    every = Every(f"{seconds} s", clock=lambda: now[0])
    last = now[0]
    for wait in waits:
        now[0] += wait
        due = now[0] - last >= seconds
        assert every.due(step=1, epoch=1) is due
        if due:
            last = now[0]


def test_a_period_in_the_other_unit_is_never_due():
    assert not Every("1 step").due(epoch=1)
    assert not Every("1 epoch").due(step=1)


@pytest.mark.parametrize(
    ("period", "unit", "amount"),
    [
        ("epoch", "epoch", 1),
        ("2 epochs", "epoch", 2),
        ("  3   Epochs ", "epoch", 3),
        ("500 steps", "step", 500),
        ("500steps", "step", 500),
        ("4 batches", "step", 4),
        ("1 batch", "step", 1),
        ("30 s", "second", 30),
        ("30 seconds", "second", 30),
        ("0.5 s", "second", 0.5),
        ("10 min", "second", 600),
        ("2 minutes", "second", 120),
        ("1.5 h", "second", 5400),
        ("1 hour", "second", 3600),
        ("2.0 epochs", "epoch", 2),
    ],
)
def test_periods_that_are_understood(period, unit, amount):
    every = Every(period)
    assert (every.unit, every.amount) == (unit, amount)
    again = Every(repr(every).removeprefix("Every('").removesuffix("')"))
    assert (again.unit, again.amount) == (unit, amount)


@pytest.mark.parametrize(
    "period", ["", "5", "five steps", "-3 steps", "1e3 steps", "3 days", "nan s"]
)
def test_periods_that_are_not_understood_are_errors_with_examples(period):
    with pytest.raises(ConfigurationError, match=r"cannot read the period .*'2 epochs'"):
        Every(period)


@pytest.mark.parametrize("period", ["0 steps", "0 s", "0.0 epochs", "1.5 epochs", "0.5 steps"])
def test_periods_that_make_no_sense_are_errors(period):
    with pytest.raises(ConfigurationError, match="a period must be positive, and whole"):
        Every(period)
