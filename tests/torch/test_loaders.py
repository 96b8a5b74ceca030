"""A DataLoader goes on in the middle of a pass, with the batches that would have come."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    WeightedRandomSampler,
)

from callboard._core.randomness import random_states, restore_random_states
from callboard.torch.loaders import stream_of

COUNT, SIZE = 22, 4


class Noisy(Dataset):
    """Adds noise of every generator; counts what is loaded."""

    def __init__(self):
        self.loaded = []
        self.scale = 1.0

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        self.loaded.append(index)
        noise = random.random() + np.random.random() + torch.rand(()).item()  # noqa: NPY002 - global
        return index + self.scale * noise / 4


class Together(Noisy):
    """Loads a batch at once."""

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def seeded(seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global one is meant
    torch.manual_seed(seed)


LOADERS = {
    "in order": lambda **o: DataLoader(Noisy(), SIZE, **o),
    "shuffled": lambda **o: DataLoader(Noisy(), SIZE, shuffle=True, **o),
    "weighted": lambda **o: DataLoader(
        Noisy(), SIZE, sampler=WeightedRandomSampler([1.0] * COUNT, COUNT), **o
    ),
    "batch sampler": lambda **o: DataLoader(
        Noisy(), batch_sampler=BatchSampler(SequentialSampler(range(COUNT)), 5, True), **o
    ),
    "generator": lambda **o: DataLoader(
        Noisy(), SIZE, shuffle=True, generator=torch.Generator().manual_seed(3), **o
    ),
    "together": lambda **o: DataLoader(Together(), SIZE, shuffle=True, **o),
}


def passes(stream, count, stop=None):
    """Go through some passes with other draws in between; return what came, and the states."""
    seen = []
    for number in range(count):
        for item in stream.begin(0, lambda: None):
            seen.append(item.tolist())
            torch.rand(1)  # as dropout
            if number == count - 1 and stop is not None and len(seen) % 100 == stop:
                return seen, (stream.state_dict(0), random_states())
    return seen, None


def continued(make, state, skip):
    seeded(99)
    stream = stream_of(make())
    stream.load_state_dict(state[0])
    rest = []
    for item in stream.begin(skip, lambda: restore_random_states(state[1])):
        rest.append(item.tolist())
        torch.rand(1)
    return rest, stream


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("skip", [1, 3, 4])
def test_what_is_left_of_a_pass_comes_as_it_would_have(kind, skip):
    seeded(0)
    expected, _ = passes(stream_of(LOADERS[kind]()), 1)
    seeded(0)
    begun, state = passes(stream_of(LOADERS[kind]()), 1, skip)
    rest, stream = continued(LOADERS[kind], state, skip)
    assert begun + rest == expected
    assert len(stream.data.dataset.loaded) <= COUNT - skip * SIZE


@pytest.mark.parametrize("kind", LOADERS)
def test_the_order_is_that_of_a_plain_loop(kind):
    seeded(0)
    expected = [item.tolist() for _ in range(2) for item in LOADERS[kind]()]
    seeded(0)
    stream = stream_of(LOADERS[kind]())
    if kind != "generator":  # there, a new loader has a new generator
        found = [item.tolist() for _ in range(2) for item in stream.begin(0, lambda: None)]
        assert found == expected


@pytest.mark.parametrize("options", [{}, {"persistent_workers": True, "prefetch_factor": 3}])
def test_workers_too_and_whatever_their_number(options):
    make = LOADERS["shuffled"]
    seeded(0)
    expected, _ = passes(stream_of(make(num_workers=2, **options)), 2)
    seeded(0)
    begun, state = passes(stream_of(make(num_workers=2, **options)), 2, 8)
    skip = 8 - 6  # six batches are a pass
    rest, _ = continued(lambda: make(num_workers=1), state, skip)
    assert begun + rest == expected


def test_a_worker_init_fn_finds_the_users_dataset():
    loader = DataLoader(Noisy(), SIZE, num_workers=1, worker_init_fn=without_noise)
    stream = stream_of(loader)
    assert next(iter(stream.begin(0, lambda: None))).tolist() == [0, 1, 2, 3]


def without_noise(_number):
    dataset = torch.utils.data.get_worker_info().dataset
    assert (len(dataset), dataset.scale) == (COUNT, 1.0)
    dataset.scale = 0.0


def test_other_loaders_go_by_the_general_way():
    class Own(DataLoader):
        pass

    class Streamed(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    assert stream_of(Own(Noisy())) is None
    assert stream_of(DataLoader(Streamed())) is None
    assert stream_of(DataLoader(Noisy(), batch_size=None)) is None
    assert stream_of([1, 2]) is None
