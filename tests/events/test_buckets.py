import math
import tracemalloc
import warnings

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from callboard._core.errors import DataError
from callboard.events.buckets import finite_buckets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb
    from tensorboard.util import tensor_util


def reference(values):
    return tensor_util.make_ndarray(histogram_pb("tag", values).value[0].tensor)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", np.longdouble, ">f4", "i1", "u2", "i8", "?"])
@pytest.mark.parametrize("size", [1, 2, 3, 100, 70_000])
def test_buckets_are_those_of_tensorboard(dtype, size):
    values = (np.random.default_rng(size).standard_normal(size) * 50 + 100).astype(dtype)
    buckets, left_out = finite_buckets(values)
    assert left_out == 0
    np.testing.assert_array_equal(buckets, reference(values))


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(max_dims=3, max_side=12),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_counts_are_those_of_tensorboard_for_any_finite_float32(values):
    buckets, _ = finite_buckets(values)
    expected = reference(values)
    np.testing.assert_array_equal(buckets[:, 2], expected[:, 2])
    np.testing.assert_array_equal(buckets[[0, -1], [0, 1]], [values.min(), values.max()])


@given(hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(width=64)))
def test_every_finite_value_is_counted_once_and_between_its_edges(values):
    buckets, left_out = finite_buckets(values)
    finite = values[np.isfinite(values)]
    assert buckets.shape == (30, 3)
    assert np.isfinite(buckets).all()
    assert left_out == values.size - finite.size
    assert buckets[:, 2].sum() == finite.size
    assert (np.diff(buckets[:, 0]) >= 0).all()
    assert (buckets[:, 1] >= buckets[:, 0]).all()
    if finite.size:
        assert buckets[0, 0] == finite.min()
        assert buckets[-1, 1] == finite.max()


@pytest.mark.parametrize("values", [np.zeros(0, np.float32), [], np.zeros((3, 0))])
def test_no_values_give_edges_and_counts_of_zero(values):
    buckets, left_out = finite_buckets(values)
    assert left_out == 0
    np.testing.assert_array_equal(buckets, np.zeros((30, 3)))


@pytest.mark.parametrize("values", [[2.5], [2.5] * 7, np.float32(2.5), np.full((2, 2), 2.5)])
def test_equal_values_stand_in_the_last_bucket(values):
    buckets, _ = finite_buckets(values)
    np.testing.assert_array_equal(buckets[:, :2], 2.5)
    np.testing.assert_array_equal(buckets[:, 2], [0] * 29 + [np.size(values)])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_left_out_and_counted(dtype):
    values = np.array([math.nan, 1.0, math.inf, 2.0, -math.inf, 3.0], dtype)
    buckets, left_out = finite_buckets(values)
    assert left_out == 3
    np.testing.assert_array_equal(buckets, reference([1.0, 2.0, 3.0]))


def test_only_values_that_are_not_finite_give_an_empty_histogram():
    buckets, left_out = finite_buckets(np.array([math.nan, math.inf], np.float32))
    assert left_out == 2
    np.testing.assert_array_equal(buckets, np.zeros((30, 3)))


def test_a_range_beyond_float64_is_counted():
    largest = float(np.finfo(np.float64).max)
    assert finite_buckets([0.0, largest])[0][[0, -1], 2].tolist() == [1, 1]
    buckets, _ = finite_buckets([-largest, largest / 100, largest, largest])
    assert np.isfinite(buckets).all()
    assert buckets[0, 0] == -largest
    assert buckets[-1, 1] == largest
    assert [int(buckets[i, 2]) for i in (0, 15, 29)] == [1, 1, 2]


def test_a_range_too_small_to_divide_is_counted_in_the_last_bucket():
    smallest = 5e-324
    buckets, _ = finite_buckets([0.0, smallest])
    assert buckets[[0, -1], [0, 1]].tolist() == [0.0, smallest]
    assert buckets[:, 2].tolist() == [0] * 29 + [2]


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
def test_the_small_types_of_jax_are_counted(dtype):
    values = np.array([0.0, 1.0, 1.0, 2.0]).astype(dtype)
    buckets, _ = finite_buckets(values)
    np.testing.assert_array_equal(buckets, reference([0.0, 1.0, 1.0, 2.0]))


def test_the_order_in_memory_does_not_matter():
    values = np.random.default_rng(1).standard_normal((50, 60)).astype(np.float32)
    for view in (values.T, np.asfortranarray(values), values[::-1, ::-1]):
        np.testing.assert_array_equal(finite_buckets(view)[0], finite_buckets(values)[0])


@pytest.mark.parametrize("order", ["C", "F"])
def test_float32_is_counted_without_a_copy(order):
    values = np.random.default_rng(2).standard_normal((2000, 1000)).astype(np.float32, order=order)
    tracemalloc.start()
    finite_buckets(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < values.nbytes / 2


def test_the_values_stay_as_they_are():
    values = np.array([3.0, 1.0, 2.0])
    finite_buckets(values)
    assert values.tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "values", [["a", "b"], [1 + 2j], [None], np.zeros(2, "V4"), np.zeros(2, "M8[s]")]
)
def test_what_is_not_real_numbers_is_an_error(values):
    with pytest.raises(DataError, match="real numbers"):
        finite_buckets(np.asarray(values))
