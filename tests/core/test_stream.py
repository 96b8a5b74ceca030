"""Data that is gone on with in the middle of a pass."""

import numpy as np
import pytest

from callboard import ConfigurationWarning, Run
from callboard._core.stream import IterableStream
from callboard.callbacks import BackupAndRestore

COUNT = 5


class Shuffled:
    """An order of its own in every pass, by NumPy's global generator."""

    def __iter__(self):
        return iter(np.random.permutation(COUNT).tolist())  # noqa: NPY002 - as user code does


class Counting(list):
    """A list that knows which items were asked for."""

    def __init__(self, items):
        super().__init__(items)
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        return super().__getitem__(index)


class Stateful:
    """A loader with a state of its own, as torchdata's and Grain's."""

    def __init__(self):
        self.next = 0

    def __iter__(self):
        while self.next < COUNT:
            self.next += 1
            yield self.next - 1
        self.next = 0

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def ready_nothing():
    pass


def test_of_a_sequence_only_what_is_left_is_asked_for():
    data = Counting(range(COUNT))
    assert list(IterableStream(data).begin(3, ready_nothing)) == [3, 4]
    assert data.asked == [3, 4]
    assert list(IterableStream(data).begin(9, ready_nothing)) == []


def test_an_iterable_is_gone_through_again_from_the_same_random_state():
    np.random.seed(0)  # noqa: NPY002 - the global one is meant
    first = IterableStream(Shuffled())
    items = list(first.begin(0, ready_nothing))
    state = first.state_dict(2)
    np.random.seed(1)  # noqa: NPY002 - the global one is meant
    second = IterableStream(Shuffled())
    second.load_state_dict(state)
    with pytest.warns(ConfigurationWarning, match="2 items of a Shuffled are gone through again"):
        assert list(second.begin(2, ready_nothing)) == items[2:]


def test_ready_is_called_between_skipping_and_fetching():
    heard = []

    def items():
        for number in range(COUNT):
            heard.append(number)
            yield number

    stream = IterableStream(items())
    stream.load_state_dict({"taken": 2})
    with pytest.warns(ConfigurationWarning, match="of a generator"):
        left = stream.begin(0, lambda: heard.append("ready"))
    assert list(left) == [2, 3, 4]
    assert heard == [0, 1, "ready", 2, 3, 4]


def test_a_loader_with_a_state_of_its_own_goes_by_it():
    stream = IterableStream(Stateful())
    iterator = stream.begin(0, ready_nothing)
    assert [next(iterator), next(iterator)] == [0, 1]
    fresh = IterableStream(Stateful())
    fresh.load_state_dict(stream.state_dict(2))
    assert list(fresh.begin(2, ready_nothing)) == [2, 3, 4]


class Grains:
    """A loader whose iterators have the state, as Grain's."""

    def __iter__(self):
        return GrainsIterator()


class GrainsIterator:
    def __init__(self):
        self.next = -1

    def __iter__(self):
        return self

    def __next__(self):
        if self.next == COUNT - 1:
            raise StopIteration
        self.next += 1
        return self.next

    def get_state(self):
        return {"next": self.next}

    def set_state(self, state):
        self.next = state["next"]


@pytest.mark.parametrize("make", [Grains, GrainsIterator])
def test_iterators_with_a_state_of_their_own_go_by_it(make):
    stream = IterableStream(make())
    iterator = stream.begin(0, ready_nothing)
    assert [next(iterator), next(iterator)] == [0, 1]
    fresh = IterableStream(make())
    fresh.load_state_dict(stream.state_dict(2))
    assert list(fresh.begin(2, ready_nothing)) == [2, 3, 4]


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 with torch 2.13
def test_torchdata_goes_by_its_own_state():
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def make():
        return loaders.StatefulDataLoader(list(range(20)), batch_size=4, shuffle=True)

    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    stream = IterableStream(make())
    iterator = stream.begin(0, ready_nothing)
    begun = [next(iterator).tolist() for _ in range(2)]
    state = stream.state_dict(2)
    expected = [item.tolist() for item in iterator]
    torch.manual_seed(1)
    fresh = IterableStream(make())
    fresh.load_state_dict(state)
    rest = [item.tolist() for item in fresh.begin(2, ready_nothing)]
    assert rest == expected
    assert sorted(n for batch in begun + rest for n in batch) == list(range(20))


def endless():
    number = 0
    while True:
        yield number
        number += 1


def data_of(kind, epoch, shared):
    numbers = [10 * epoch + number for number in range(COUNT)]
    if kind == "a generator for each epoch":
        return (number for number in numbers)
    if kind == "one generator, left by break":
        return shared
    return numbers if kind == "a list for each epoch" else [0, 1]


def loops(kind, folder, until):
    """Train in one of the ways people write loops; return what each epoch saw."""
    seen = []
    shared = endless()
    backup = BackupAndRestore(folder, save_freq=1)
    with Run(epochs=3, callbacks=[backup], verbose=0) as run:
        for epoch in run.epochs():
            data = data_of(kind, epoch, shared)
            for count, item in enumerate(run.train(data), run.progress.batch + 1):
                if run.progress.step + 1 == until:
                    raise KeyboardInterrupt
                run.log(item=item)
                seen.append((epoch, item))
                if kind == "one generator, left by break" and count == COUNT:
                    break
            if kind == "two passes in an epoch":
                for item in run.train([2, 3, 4]):
                    if run.progress.step + 1 == until:
                        raise KeyboardInterrupt
                    run.log(item=item)
                    seen.append((epoch, item))
    return run.history.history


@pytest.mark.filterwarnings("ignore:.*gone through again")
@pytest.mark.parametrize("until", [1, 2, 5, 6, 8, 11, 15])
@pytest.mark.parametrize(
    "kind",
    [
        "a list for each epoch",
        "a generator for each epoch",
        "one generator, left by break",
        "two passes in an epoch",
    ],
)
def test_loops_of_ones_own_see_every_item_once(kind, until, tmp_path):
    expected = loops(kind, tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        loops(kind, tmp_path / "b", until)
    assert loops(kind, tmp_path / "b", None) == expected


def test_a_validation_before_the_training_of_an_epoch_that_is_gone_on_with(tmp_path):
    def train(until):
        np.random.seed(0)  # noqa: NPY002 - the global one is meant
        backup = BackupAndRestore(tmp_path / str(until), save_freq=1)
        if until is None:
            backup = BackupAndRestore(tmp_path / "4", save_freq=1)
        with Run(epochs=2, callbacks=[backup], verbose=0) as run:
            for _ in run.epochs():
                for _ in run.validate([1]):
                    run.log(loss=np.random.random())  # noqa: NPY002 - the global one is meant
                for _ in run.train([1, 2, 3]):
                    if run.progress.step == until:
                        raise KeyboardInterrupt
                    run.log(loss=np.random.random())  # noqa: NPY002 - the global one is meant
        return run.history.history["loss"], run.elapsed_s

    expected, _ = train(99)
    with pytest.raises(KeyboardInterrupt):
        train(4)
    found, elapsed_s = train(None)
    assert found == expected
    assert elapsed_s > 0
