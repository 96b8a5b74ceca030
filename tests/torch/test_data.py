import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from callboard import ConfigurationError, DataError
from callboard._core.batches import Batch
from callboard.torch.arrays import tensors_of
from callboard.torch.data import ArrayBatches, batches_of, split_off
from callboard.torch.placement import Placement

FLOAT32 = Placement(torch.device("cpu"), torch.float32)
META = Placement(torch.device("meta"), torch.float32)


def made(x, y=None, weight=None, *, batch_size=None, shuffle=False, steps=None, seed=0):
    return batches_of(
        x,
        y,
        weight,
        batch_size=batch_size,
        shuffle=shuffle,
        steps=steps,
        placement=FLOAT32,
        seed=seed,
    )


def rows(batches, epoch=0):
    """Return the first column of each batch of an epoch as lists."""
    return [batch.x.flatten().tolist() for batch in batches.epoch(epoch)]


def counted(samples):
    return torch.arange(float(samples)).reshape(-1, 1)


@given(st.integers(1, 70), st.integers(1, 20), st.booleans(), st.integers(0, 3))
def test_an_epoch_has_every_sample_once_in_batches_of_the_size(samples, size, shuffle, epoch):
    batches = made(counted(samples), counted(samples) * 2, batch_size=size, shuffle=shuffle)
    found = list(batches.epoch(epoch))
    assert len(found) == batches.steps == -(-samples // size)
    assert {len(batch.x) for batch in found[:-1]} <= {size}
    together = torch.cat([batch.x for batch in found])
    assert sorted(together.flatten().tolist()) == list(range(samples))
    assert torch.equal(torch.cat([batch.y for batch in found]), together * 2)
    if not shuffle:
        assert together.flatten().tolist() == list(range(samples))


def test_blocks_of_rows_join_without_a_seam():
    samples = 5000
    batches = made(counted(samples), batch_size=3, shuffle=True, seed=7)
    order = batches.order(4).tolist()
    assert list(itertools.chain(*rows(batches, 4))) == order
    big = made(counted(samples), batch_size=3000)
    assert [len(batch) for batch in rows(big)] == [3000, 2000]


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    def order(seed, epoch):
        return tuple(made(counted(50), shuffle=True, seed=seed).order(epoch).tolist())

    assert order(1, 0) == order(1, 0)
    assert len({order(seed, epoch) for seed in (1, 2) for epoch in (0, 1)}) == 4
    batches = made(counted(50), shuffle=True, seed=1)
    list(batches.epoch(0))
    assert tuple(batches.order(1).tolist()) == order(1, 1)


def test_thirty_two_samples_are_a_batch_unless_said_otherwise():
    assert [len(batch) for batch in rows(made(counted(40)))] == [32, 8]


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros((2, 3)), torch.float32),
        (np.zeros((2, 3), np.uint8), torch.float32),
        (np.zeros((2, 3), np.int32), torch.int32),
        (np.zeros((2, 3), np.float16), torch.float32),
        (torch.zeros(2, 3, dtype=torch.float64), torch.float32),
        ([[1, 2], [3, 4]], torch.int64),
        ([1.5, 2.5], torch.float32),
    ],
    ids=str,
)
def test_inputs_get_the_type_that_a_float32_model_needs(array, dtype):
    (batch,) = made(array).epoch(0)
    assert batch.x.dtype is dtype


def test_targets_of_bytes_stay_class_numbers_and_those_of_float64_become_float32():
    x = counted(2)
    (batch,) = made(x, np.array([1, 2], np.uint8), np.ones(2)).epoch(0)
    assert batch.y.dtype is torch.uint8
    assert batch.sample_weight.dtype is torch.float32


def test_bytes_are_widened_batch_by_batch_and_not_all_at_once():
    batches = made(np.zeros((4, 2), np.uint8))
    assert batches._data.x.dtype is torch.uint8


class Point(NamedTuple):
    a: object
    b: object


@pytest.mark.parametrize(
    "x",
    [
        {"a": counted(5), "b": np.ones((5, 2))},
        (counted(5), np.ones((5, 2))),
        [counted(5), np.ones((5, 2))],
        Point(counted(5), np.ones((5, 2))),
        {"a": (counted(5), [1, 2, 3, 4, 5])},
    ],
    ids=["dict", "tuple", "list", "named tuple", "nested"],
)
def test_nested_inputs_are_batched_together(x):
    batches = list(made(x, counted(5), batch_size=2, shuffle=True).epoch(0))
    assert [type(batch.x) for batch in batches] == [type(x)] * 3
    for batch in batches:
        first = next(iter(batch.x.values())) if isinstance(x, dict) else batch.x[0]
        first = first[0] if isinstance(first, tuple) else first
        assert torch.equal(first, batch.y)


def test_a_data_frame_is_an_array():
    class Frame:
        shape = (3, 1)

        def __array__(self, dtype=None, copy=None):
            return np.zeros((3, 1))

        def to_numpy(self):
            return np.arange(3.0).reshape(3, 1)

        def __iter__(self):
            return iter(["column"])

    assert rows(made(Frame())) == [[0.0, 1.0, 2.0]]


class Squares(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.tensor([float(index)]), index**2


class Stream(IterableDataset):
    def __iter__(self):
        return ((torch.tensor([float(i)]), i) for i in range(5))


def test_a_dataset_is_batched_and_shuffled_if_asked():
    assert rows(made(Squares(), batch_size=2)) == [[0.0, 1.0], [2.0, 3.0], [4.0]]
    torch.manual_seed(0)
    shuffled = made(Squares(), batch_size=2, shuffle=True)
    assert shuffled.steps == 3
    first, second = rows(shuffled), rows(shuffled, 1)
    assert first != second
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == [0, 1, 2, 3, 4]


def test_a_stream_of_samples_is_batched_in_its_order_whatever_shuffle_says():
    batches = made(Stream(), batch_size=2, shuffle=True)
    assert batches.steps is None
    assert rows(batches) == rows(batches, 1) == [[0.0, 1.0], [2.0, 3.0], [4.0]]


def test_a_loader_keeps_its_own_batches_and_order():
    loader = DataLoader(TensorDataset(counted(6)), batch_size=4, shuffle=False)
    batches = made(loader, batch_size=2, shuffle=True)
    assert batches.steps == 2
    assert rows(batches) == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0]]


@pytest.mark.parametrize("kind", [list, tuple])
def test_batches_of_an_iterable_are_x_or_with_y_or_with_weights(kind):
    x, y, weight = counted(2), counted(2), torch.ones(2)
    for parts in ((x,), (x, y), (x, y, weight)):
        (batch,) = made(iter([kind(parts)])).epoch(0)
        assert [part is None for part in batch] == [False, len(parts) < 2, len(parts) < 3]
    (bare,) = made(iter([x])).epoch(0)
    assert torch.equal(bare.x, x)
    assert bare.y is None


def test_a_list_of_pairs_is_a_list_of_batches():
    batches = made([(counted(2), counted(2)), (counted(3), counted(3))])
    assert batches.steps == 2
    assert rows(batches) == rows(batches, 1) == [[0.0, 1.0], [0.0, 1.0, 2.0]]


def test_batches_may_be_plain_lists_of_numbers():
    (batch,) = made(iter([([[1, 2], [3, 4]], [0.5, 1.5])])).epoch(0)
    assert batch.x.shape == (2, 2)
    assert batch.y.tolist() == [0.5, 1.5]


def test_an_item_of_four_parts_is_an_error():
    with pytest.raises(DataError, match="yields 4 values at a time"):
        list(made(iter([(1, 2, 3, 4)])).epoch(0))


def test_steps_of_arrays_go_on_where_the_last_epoch_ended():
    batches = made(counted(6), batch_size=2, steps=2)
    assert batches.steps == 2
    found = [rows(batches, epoch) for epoch in range(3)]
    assert found == [
        [[0.0, 1.0], [2.0, 3.0]],
        [[4.0, 5.0], [0.0, 1.0]],
        [[2.0, 3.0], [4.0, 5.0]],
    ]


def test_every_pass_of_shuffled_arrays_with_steps_has_an_order_of_its_own():
    batches = made(counted(50), batch_size=25, steps=4, shuffle=True, seed=3)
    one, two, three, four = rows(batches)
    assert sorted(one + two) == sorted(three + four) == list(range(50))
    assert one + two != three + four


def test_steps_of_a_loader_go_on_where_the_last_epoch_ended():
    batches = made([(counted(1) + i,) for i in range(3)], steps=2)
    assert batches.steps == 2
    assert [rows(batches, epoch) for epoch in range(3)] == [
        [[0.0], [1.0]],
        [[2.0], [0.0]],
        [[1.0], [2.0]],
    ]


def test_a_generator_is_gone_through_once():
    batches = made((counted(1) + i for i in range(5)), steps=2)
    assert batches.steps == 2
    assert [rows(batches), rows(batches, 1)] == [[[0.0], [1.0]], [[2.0], [3.0]]]
    with pytest.raises(DataError, match=r"after 1 batches of epoch 3.*steps_per_epoch=2"):
        rows(batches, 2)


def test_a_generator_without_steps_is_one_epoch():
    batches = made(counted(1) + i for i in range(3))
    assert batches.steps is None
    assert rows(batches) == [[0.0], [1.0], [2.0]]
    with pytest.raises(DataError, match=r"after 0 batches of epoch 2.*at least one"):
        rows(batches, 1)


def test_no_more_is_taken_from_a_generator_than_is_used():
    taken = []
    batches = made((taken.append(i) or counted(1) for i in range(9)), steps=2)
    rows(batches)
    assert taken == [0, 1]


@pytest.mark.parametrize("steps", [None, 3])
def test_a_loader_without_batches_is_an_error(steps):
    class Empty:
        def __iter__(self):
            return iter(())

    with pytest.raises(DataError, match="no batch in epoch 1"):
        rows(made(Empty(), steps=steps))


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((counted(3), counted(4)), "x: 3, y: 4"),
        ((counted(3), counted(3), torch.ones(2)), "sample_weight: 2"),
        (((counted(3), counted(2)), counted(3)), r"x\[0\]: 3, x\[1\]: 2"),
        ((torch.tensor(1.0), counted(1)), "x: None"),
    ],
)
def test_parts_of_different_lengths_are_an_error_that_tells_them(parts, told):
    with pytest.raises(DataError, match=told):
        made(*parts)


@pytest.mark.parametrize("x", [np.zeros((0, 3)), [], {}, ()])
def test_no_samples_are_an_error(x):
    with pytest.raises(DataError, match="x has no samples"):
        made(x)


def test_no_data_at_all_is_an_error():
    with pytest.raises(DataError, match="x is None"):
        made(None)


@pytest.mark.parametrize("x", [3, object(), len])
def test_what_is_no_data_is_an_error(x):
    with pytest.raises(DataError, match="allowed are arrays"):
        made(x)


@pytest.mark.parametrize("data", [Squares(), [(counted(2), counted(2))], iter([])])
def test_targets_beside_data_that_brings_its_own_are_an_error(data):
    with pytest.raises(ConfigurationError, match="yields them itself"):
        made(data, counted(2))
    with pytest.raises(ConfigurationError, match="yields them itself"):
        made(data, None, counted(2))


@pytest.mark.parametrize("size", [0, -1, True, 2.5, "32"])
def test_impossible_counts_are_errors(size):
    with pytest.raises(ConfigurationError, match="batch_size must be a whole number"):
        made(counted(3), batch_size=size)
    with pytest.raises(ConfigurationError, match="steps_per_epoch must be a whole number"):
        made(counted(3), steps=size)


def test_the_last_samples_are_split_off_in_order():
    data = Batch({"a": counted(10)}, counted(10), np.arange(10))
    train, validation = split_off(data, 0.25)
    assert train.x["a"].flatten().tolist() == list(range(7))
    assert validation.y.flatten().tolist() == [7.0, 8.0, 9.0]
    assert validation.sample_weight.tolist() == [7, 8, 9]


def test_a_split_leaves_none_alone():
    train, validation = split_off(Batch(counted(4), None, None), 0.5)
    assert train.y is validation.sample_weight is None


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_a_fraction_that_is_none_is_an_error(fraction):
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        split_off(Batch(counted(4), None, None), fraction)


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_split_that_leaves_a_side_empty_is_an_error(fraction):
    with pytest.raises(DataError, match="leaves nothing"):
        split_off(Batch(counted(1), None, None), fraction)


def test_only_arrays_can_be_split():
    with pytest.raises(DataError, match="needs arrays or tensors"):
        split_off(Batch(Squares(), None, None), 0.5)


def test_nested_lists_of_numbers_are_one_array_and_lists_of_arrays_are_several():
    assert tensors_of([[1, 2], [3, 4]]).shape == (2, 2)
    assert [t.shape for t in tensors_of([np.ones(3), np.ones(2)])] == [(3,), (2,)]
    point = tensors_of(Point([1, 2], None))
    assert isinstance(point, Point)
    assert point.a.tolist() == [1, 2]
    assert tensors_of(None) is None


def test_a_batch_goes_to_the_device_with_the_types_of_a_float32_model():
    batch = META.of(Batch({"a": np.zeros((2, 1), np.uint8)}, [1.5, 2.5], np.ones(2)))
    assert batch.x["a"].device.type == batch.y.device.type == "meta"
    assert batch.x["a"].dtype is batch.y.dtype is batch.sample_weight.dtype is torch.float32


def test_arrays_are_moved_block_by_block():
    batches = ArrayBatches(counted(4), batch_size=2, shuffle=False, placement=META, seed=0)
    assert [batch.x.device.type for batch in batches.epoch(0)] == ["meta", "meta"]
