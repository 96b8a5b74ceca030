import copy
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import DataError, Logs
from callboard._core.logs import Mean, Means, plain

VALUES = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 0.5),
        (3, 3.0),
        (True, 1.0),
        (Fraction(1, 4), 0.25),
        (Decimal("0.5"), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7.0),
        (np.array(2.0), 2.0),
        (np.array([[2.0]]), 2.0),
        (Mean(3.0, 2.0), 1.5),
        ("text", "text"),
        (None, None),
    ],
)
def test_whatever_is_one_number_is_read_as_a_float(value, expected):
    read = plain(value)
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    "value", [np.str_("text"), np.complex64(1j), np.datetime64("2026-01-01"), np.array("one")]
)
def test_one_value_that_is_no_number_stays_as_it_is(value):
    assert plain(value) is value


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros(0), np.zeros((2, 1)), [1.0]])
def test_several_values_stay_as_they_are(value):
    assert plain(value) is value


def test_logs_behave_like_a_dict():
    logs = Logs({"loss": 1})
    logs["acc"] = np.float32(0.5)
    assert logs == {"loss": 1.0, "acc": 0.5}
    assert repr(logs) == "Logs({'loss': 1.0, 'acc': 0.5})"
    assert logs.copy() == dict(logs)
    assert type(logs.copy()) is dict
    assert len(logs) == 2
    assert "acc" in logs
    assert "x" not in logs
    del logs["acc"]
    assert list(logs) == ["loss"]
    assert logs.pop("loss") == 1.0
    assert not logs
    with pytest.raises(KeyError):
        _ = logs["loss"]


def test_copying_logs_reads_nothing_and_shares_nothing():
    class Unreadable:
        def __float__(self):
            raise AssertionError("it was read")

    first = Logs({"loss": Unreadable()})
    second = Logs(first)
    second["more"] = 1.0
    assert list(first) == ["loss"]
    assert first.unread.keys() == {"loss"}


def test_asking_whether_a_metric_is_there_does_not_read_it():
    class Unreadable:
        def __float__(self):
            raise AssertionError("it was read")

    logs = Logs({"loss": Unreadable()})
    assert "loss" in logs
    assert list(logs) == ["loss"]


@given(st.lists(st.tuples(VALUES, st.integers(1, 512)), min_size=1, max_size=50))
def test_the_mean_is_the_weighted_mean(batches):
    means = Means()
    for value, weight in batches:
        means.add({"m": value}, weight)
    total = math.fsum(value * weight for value, weight in batches)
    expected = total / sum(weight for _, weight in batches)
    assert means.logs()["m"] == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_a_mean_without_weight_is_not_a_number():
    assert math.isnan(float(Mean(0.0, 0)))


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "bool"])
def test_narrow_values_are_summed_in_a_wider_type(dtype):
    means = Means()
    for _ in range(5000):
        means.add({"m": np.array(1, dtype)}, 1)
    assert means.logs()["m"] == 1.0


def test_values_with_a_graph_of_gradients_let_it_go():
    class Attached:
        dtype = np.dtype("float32")
        shape = ()

        def detach(self):
            return np.float32(2.0)

    means = Means()
    means.add({"m": Attached()}, 1)
    assert means.logs()["m"] == 2.0


def test_half_precision_of_a_framework_is_widened_by_its_own_method():
    class Half:
        """As torch.bfloat16: a dtype that NumPy lacks, and ``float()`` instead of ``astype``."""

        dtype = np.dtype("u2")
        shape = ()

        def float(self):
            return np.float32(0.5)

    means = Means()
    means.add({"m": Half()}, 1)
    assert means.logs()["m"] == 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_value_shows_in_the_mean_of_the_epoch(bad):
    means = Means()
    for value in (1.0, bad, 1.0):
        means.add({"m": value}, 4)
    assert not math.isfinite(means.logs()["m"])


def test_logs_are_joined_with_others_as_dicts_are_and_copied_without_being_shared():
    logs = Logs({"loss": np.float32(0.5)})
    assert logs | {"lr": 1.0} == {"loss": 0.5, "lr": 1.0}
    assert {"loss": 9.0, "lr": 1.0} | logs == {"loss": 0.5, "lr": 1.0}
    other = copy.copy(logs)
    other["more"] = 1.0
    assert list(logs) == ["loss"]
    logs |= {"acc": 0.5}
    assert dict(logs) == {"loss": 0.5, "acc": 0.5}


def test_numbers_of_all_kinds_are_averaged():
    means = Means()
    for value in (1, True, Decimal(1), Fraction(1), np.float16(1), np.array(1), np.array([1.0])):
        means.add({"loss": value}, 2)
    assert dict(means.logs()) == {"loss": 1.0}


@pytest.mark.parametrize("bad", [[1.0, 2.0], np.ones(3), None, "much", {"a": 1}])
def test_what_is_no_number_is_told_where_it_was_logged_also_later(bad):
    means = Means()
    with pytest.raises(DataError, match=r"loss=.* cannot be logged"):
        means.add({"loss": bad}, 2)
    means.add({"loss": 1.0}, 2)
    with pytest.raises(DataError, match=r"loss=.* cannot be logged"):
        means.add({"loss": bad}, 2)
