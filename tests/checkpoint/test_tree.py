import json
import math
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from callboard.checkpoint.tree import join, split

KEYS = st.text(max_size=6) | st.sampled_from(
    ["", "/", "a/b", "a", "b", ".", "..", "%", "%2F", "\0", "0", "$", "é", "$array", "$float"]
)
WHOLE = st.integers() | st.tuples(st.integers(), st.integers())
ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=9),
    ARRAYS,
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(WHOLE, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(TREES)
def test_joining_gives_back_what_was_split(tree):
    text, arrays = split(tree)
    assert same(join(text, arrays), tree)


@given(TREES)
def test_the_text_is_strict_json_and_paths_are_safe_names(tree):
    text, arrays = split(tree)

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)
    if not isinstance(tree, np.ndarray):
        for path in arrays:
            parts = path.split("/")
            assert all(part.strip(".") and "\0" not in part for part in parts)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_come_back(value):
    text, _ = split({"v": [value]})
    assert "$float" in text
    np.testing.assert_equal(join(text, {}), {"v": [value]})


def test_other_mappings_come_back_as_dicts():
    text, arrays = split(OrderedDict(a=(1, (2, np.ones(1)))))
    assert same(join(text, arrays), {"a": (1, (2, np.ones(1)))})
    assert list(arrays) == ["a/1/1"]


def test_whole_numbers_stay_keys():
    text, arrays = split({0: {"x": np.ones(1)}, 1: 2})
    assert join(text, arrays) == {0: {"x": np.ones(1)}, 1: 2}
    assert list(arrays) == ["0/x"]


@pytest.mark.parametrize("value", [np.float32(0.1), np.int64(3), np.float64(0.1), np.bool_(True)])
def test_numpy_scalars_keep_their_type(value):
    back = join(*split({"v": value}))["v"]
    assert type(back) is type(value)
    assert back == value


def test_arrays_of_a_framework_are_taken_by_their_source():
    class Source:
        kind, dtype, shape, memory = "of_mine", np.dtype("f4"), (2,), 1

        def copy_to(self, target):
            target[:] = 7

    mine = complex(1, 2)  # any type that the tree does not know itself
    text, arrays = split({"w": mine}, lambda value: Source() if value is mine else None)
    target = np.zeros(2, "f4")
    arrays["w"].copy_to(target)
    assert join(text, {"w": target}, lambda kind, array: (kind, array.tolist())) == {
        "w": ("of_mine", [7, 7])
    }


def test_arrays_in_different_places_never_share_a_path():
    tree = {"a/b": np.zeros(1), "a": {"b": np.ones(1)}, "": {"a": np.full(1, 2.0)}}
    text, arrays = split(tree)
    assert len(arrays) == 3
    assert same(join(text, arrays), tree)


@pytest.mark.parametrize(
    "tree",
    [
        {"a": object()},
        {"a": {1, 2}},
        {"a": 1j},
        {1: "a", "1": "b"},
    ],
)
def test_what_would_not_come_back_is_an_error(tree):
    with pytest.raises(TypeError):
        split(tree)
