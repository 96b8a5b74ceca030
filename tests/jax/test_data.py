import numpy as np
import pytest

from callboard import ConfigurationError, DataError
from callboard._core.batches import Batch
from callboard.jax.data import as_arrays, batches_of, split_off

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


def made(x=X, y=Y, *, batch_size=4, shuffle=False, steps=None, seed=0):
    return batches_of(x, y, batch_size=batch_size, shuffle=shuffle, steps=steps, seed=seed)


def test_arrays_are_cut_into_batches_of_32_bits():
    batches = list(made().epoch(0))
    assert [batch.y.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert {(b.x.dtype.name, b.y.dtype.name) for b in batches} == {("float32", "int32")}
    images = next(made(np.ones((4, 2), np.uint8), Y[:4]).epoch(0))
    assert images.x.dtype == np.float32


def test_the_order_is_a_function_of_seed_and_epoch_and_goes_on_in_the_middle():
    orders = [
        np.concatenate([batch.y for batch in made(shuffle=True, seed=seed).epoch(epoch)]).tolist()
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]
    assert sorted(orders[0]) == list(range(10))
    resumed = made(shuffle=True)
    resumed.load_state_dict(made(shuffle=True, seed=1).state_dict())
    assert np.concatenate([b.y for b in resumed.epoch(0, 1)]).tolist() == orders[0][4:]
    with pytest.raises(DataError, match="had 10 samples in batches of 4, and this one has 10 in"):
        made(batch_size=5).load_state_dict(made().state_dict())


def test_other_data_passes_through():
    batches = made({"a": X, "b": [X, X]}, (Y, Y))
    first = next(batches.epoch(0))
    assert first.x["b"][1].shape == (4, 2)
    assert as_arrays(Batch([[1.0, 2.0]], None, None)).x.shape == (1, 2)
    limited = made(steps=2)
    assert [b.y.tolist() for b in limited.epoch(0)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [b.y.tolist() for b in limited.epoch(1)] == [[8, 9], [0, 1, 2, 3]]


def test_a_part_is_split_off():
    train, validation = split_off(Batch(X, Y, None), 0.2)
    assert (train.y.tolist(), validation.y.tolist()) == (list(range(8)), [8, 9])
    with pytest.raises(DataError, match="nothing to train on"):
        split_off(Batch(X, Y, None), 0.99)
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        split_off(Batch(X, Y, None), 2)
    with pytest.raises(DataError, match="needs arrays"):
        split_off(Batch(iter([X]), None, None), 0.5)


def test_mistakes_are_errors():
    with pytest.raises(DataError, match="x is None"):
        made(None)
    with pytest.raises(DataError, match="x is a int"):
        made(3, None)
    with pytest.raises(DataError, match="the same number of samples"):
        made(X, Y[:3])
    with pytest.raises(DataError, match="no samples"):
        made(X[:0], Y[:0])
    with pytest.raises(DataError, match="data must be numbers"):
        made(np.array(["a"]), None)
    with pytest.raises(ConfigurationError, match="are for arrays"):
        made(iter([X]), Y)
