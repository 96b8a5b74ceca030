import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import Best, ConfigurationError, Patience, UnknownNameError
from callboard._core.monitor import check_mode, check_patience, direction

ANY = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(-1e12, 1e12)
MODE = st.sampled_from(["min", "max"])


@given(MODE, st.lists(ANY), st.floats(0, 10))
def test_the_best_is_always_finite_and_was_one_of_the_values(mode, values, min_delta):
    best = Best(mode, min_delta)
    for value in values:
        improved = best.update(value)
        assert not improved or best.value == value
    assert best.value is None or (math.isfinite(best.value) and best.value in values)


@given(MODE, st.lists(FINITE, min_size=1))
def test_without_min_delta_the_best_is_the_extreme(mode, values):
    best = Best(mode)
    improvements = [value for value in values if best.update(value)]
    assert best.value == (min(values) if mode == "min" else max(values))
    assert improvements == sorted(set(improvements), reverse=mode == "min")


@given(MODE, st.lists(FINITE, min_size=1), st.floats(0, 100))
def test_every_improvement_is_by_more_than_min_delta(mode, values, min_delta):
    best = Best(mode, min_delta)
    for value in values:
        before = best.value
        if best.update(value) and before is not None:
            gain = before - value if mode == "min" else value - before
            assert gain >= min_delta * (1 - 1e-9)
            assert gain > 0


@given(st.lists(ANY), st.floats(0, 10))
def test_min_and_max_are_mirror_images(values, min_delta):
    low, high = Best("min", min_delta), Best("max", min_delta)
    assert [low.update(v) for v in values] == [high.update(-v) for v in values]


@given(MODE, st.lists(ANY, max_size=20), st.integers(0, 20))
def test_a_best_continues_from_its_state(mode, values, cut):
    whole, first, second = (Best(mode, 0.5) for _ in range(3))
    expected = [whole.update(v) for v in values]
    got = [first.update(v) for v in values[:cut]]
    second.load_state_dict(first.state_dict())
    assert got + [second.update(v) for v in values[cut:]] == expected


@pytest.mark.parametrize(
    ("mode", "before", "value", "min_delta", "improves"),
    [
        ("min", 1.0, 1.0, 0.0, False),
        ("min", 1.0, 0.5, 0.5, False),  # a change of exactly min_delta
        ("max", 1.0, 1.5, 0.5, False),
        ("max", 1.0, 1.75, 0.5, True),
        ("max", 1.0, 1.00000001, 0.0, True),  # float32 would not tell them apart
        ("max", 16777216.0, 16777217.0, 0.0, True),
        ("min", None, math.nan, 0.0, False),
        ("min", None, -math.inf, 0.0, False),
        ("max", 0.0, math.inf, 0.0, False),
        ("min", None, 1e300, 0.0, True),
        ("min", math.inf, 5.0, 0.0, True),
    ],
)
def test_single_comparisons(mode, before, value, min_delta, improves):
    assert Best(mode, min_delta).improves(value, before) is improves


def test_the_sign_of_min_delta_is_ignored_as_in_keras():
    assert Best("min", -0.5).min_delta == 0.5


def test_numbers_of_numpy_are_numbers():
    assert Best("min", np.float32(0.5)).min_delta == 0.5
    assert Patience(np.int64(3)).limit == 3


@pytest.mark.parametrize("min_delta", [math.nan, math.inf, "0.1", None, True])
def test_an_impossible_min_delta_is_an_error(min_delta):
    with pytest.raises(ConfigurationError, match="min_delta must be a finite number; got"):
        Best("min", min_delta)


@pytest.mark.parametrize("value", [math.nan, "0.5", [1.0]])
def test_a_best_to_begin_with_that_nothing_can_beat_is_an_error(value):
    with pytest.raises(ConfigurationError, match="the best value to begin with must be a number"):
        Best("min", value=value)


def test_an_unknown_mode_is_an_error_that_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown mode 'mim'. Did you mean 'min'"):
        Best("mim")
    with pytest.raises(UnknownNameError, match=r"unknown mode 'MAX'\. .* Allowed: auto, max, min"):
        check_mode("MAX")
    check_mode("auto")


@pytest.mark.parametrize("patience", [-1, 1.5, "3", None, True])
def test_an_impossible_patience_is_an_error(patience):
    with pytest.raises(ConfigurationError, match=r"patience must be .* 0 or more; got"):
        check_patience(patience)
    with pytest.raises(ConfigurationError):
        Patience(patience)


@given(st.integers(0, 6), st.lists(st.booleans()))
def test_patience_is_exhausted_by_that_many_steps_without_improvement_in_a_row(limit, improved):
    patience = Patience(limit)
    row = 0
    for each in improved:
        row = 0 if each else row + 1
        assert patience.update(improved=each) is (row >= max(limit, 1))
        assert patience.waited == row


@given(st.lists(st.booleans(), max_size=10), st.integers(0, 10))
def test_patience_continues_from_its_state(improved, cut):
    whole, first, second = (Patience(3) for _ in range(3))
    expected = [whole.update(improved=i) for i in improved]
    got = [first.update(improved=i) for i in improved[:cut]]
    second.load_state_dict(first.state_dict())
    assert got + [second.update(improved=i) for i in improved[cut:]] == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss", "min"),
        ("val_loss", "min"),
        ("val_head_a_loss", "min"),
        ("head-a/rmse", "min"),
        ("perplexity", "min"),
        ("accuracy", "max"),
        ("val_sparse_categorical_accuracy", "max"),
        ("top_5_accuracy", "max"),
        ("val_accuracy_5", "max"),
        ("recall@10", "max"),
        ("AUC", "max"),
        ("f1", "max"),
        ("valid_0-l2", "min"),
        ("val_l1", "min"),
        ("mlogloss", "min"),
        ("poisson-nloglik", "min"),
        ("tweedie-nloglik@1.5", "min"),
        ("error@0.4", "min"),
        ("test-ndcg@5-", "max"),
        ("val_pre@5", "max"),
        ("auc_mu", "max"),
    ],
)
def test_well_known_names_have_a_direction(name, expected):
    assert direction(name) == expected


def test_what_the_metric_says_itself_comes_first():
    assert direction("val_loss", {"loss": "max"}) == "max"
    assert direction("val_loss", {"val_loss": "max", "loss": "min"}) == "max"
    assert direction("score", {"score": "min"}) == "min"
    assert direction("loss", {"loss": None}) == "min"
    assert direction("validation-Huber:delta=2", {"Huber": "max"}) == "max"


@pytest.mark.parametrize("name", ["score", "lossy", "val_my_metric", "gloss", "weights_l2"])
def test_a_direction_that_cannot_be_known_is_an_error_that_asks_for_the_mode(name):
    with pytest.raises(ConfigurationError, match=f"{name}.*pass mode='min' or mode='max'"):
        direction(name)
