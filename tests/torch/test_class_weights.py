import math

import numpy as np
import pytest
import torch

from callboard import ConfigurationError, DataError
from callboard._core.batches import Batch
from callboard.torch.class_weights import ClassWeights


def weights(y, table, given=None):
    batch = Batch(torch.zeros(len(y), 1), y, given)
    return ClassWeights(table).apply(batch).sample_weight


@pytest.mark.parametrize(
    "y",
    [
        torch.tensor([0, 2, 1, 5]),
        torch.tensor([[0.0], [2.0], [1.0], [5.0]]),
        torch.tensor([0, 2, 1, 5], dtype=torch.uint8),
        torch.nn.functional.one_hot(torch.tensor([0, 2, 1, 5]), 6),
    ],
    ids=["numbers", "column of floats", "bytes", "one-hot"],
)
def test_each_sample_gets_the_weight_of_its_class_and_others_weigh_one(y):
    assert weights(y, {0: 0.5, 2: 3.0}).tolist() == [0.5, 3.0, 1.0, 1.0]


def test_class_weights_multiply_the_weights_there_are():
    y = torch.tensor([0, 1])
    assert weights(y, {1: 2.0}, torch.tensor([3.0, 4.0])).tolist() == [3.0, 8.0]
    assert weights(y, {1: 2.0}, torch.tensor([[3.0], [4.0]])).tolist() == [[3.0], [8.0]]


def test_keys_and_values_of_numpy_are_numbers_too():
    table = dict(zip(np.unique([1, 0]), np.array([0.5, 2.0], np.float32), strict=True))
    assert weights(torch.tensor([1, 0]), table).tolist() == [2.0, 0.5]


def test_no_weights_are_none():
    assert ClassWeights.of(None) is ClassWeights.of({}) is None
    assert ClassWeights.of({0: 2.0}) is not None


@pytest.mark.parametrize("key", [-1, 0.5, "0", True])
def test_a_key_that_is_no_class_is_an_error(key):
    with pytest.raises(ConfigurationError, match="class numbers, from 0, as keys"):
        ClassWeights({key: 1.0})


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, "2", None])
def test_an_impossible_weight_is_an_error(weight):
    with pytest.raises(ConfigurationError, match=r"class_weight\[3\] must be a number, 0 or more"):
        ClassWeights({3: weight})


@pytest.mark.parametrize("table", ["balanced", [1.0, 2.0], np.ones(2)], ids=str)
def test_anything_but_a_dict_is_an_error(table):
    with pytest.raises(ConfigurationError, match="must be a dict"):
        ClassWeights.of(table)


@pytest.mark.parametrize(
    "y", [{"a": torch.zeros(2)}, None, torch.zeros(2, 4, 4), torch.tensor(1)], ids=str
)
def test_targets_that_are_not_classes_are_an_error(y):
    with pytest.raises(DataError, match="one array of class numbers"):
        ClassWeights({0: 1.0}).apply(Batch(torch.zeros(2, 1), y, None))
