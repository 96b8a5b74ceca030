import jax
import numpy as np

from callboard._core.batches import nothing
from callboard.jax.data import batches_of
from callboard.jax.executions import executions_of, placed_ahead
from callboard.jax.placement import Placement

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)
HERE = Placement()


def made(x=X, y=Y):
    return batches_of(x, y, batch_size=4, shuffle=False, steps=None)


def test_executions_have_an_axis_for_their_steps():
    found = list(executions_of(made(), 0, 0, 2, nothing, HERE))
    assert [(e.steps, e.samples, e.stacked) for e in found] == [(2, 8, True), (1, 2, False)]
    assert found[0].batches[0].x.shape == (2, 4, 2)
    assert found[0].first().y.tolist() == [0, 1, 2, 3]
    loader = [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:], Y[8:]), (X[:4], Y[:4])]
    found = list(executions_of(made(loader, None), 0, 0, 2, nothing, HERE))
    assert [(e.steps, e.samples, e.stacked) for e in found] == [(2, 8, True), (2, 6, False)]
    assert [batch.y.tolist() for batch in found[1].batches] == [[8, 9], [0, 1, 2, 3]]


def test_the_next_execution_is_placed_before_this_one_is_trained_on():
    taken = []

    def executions():
        for execution in executions_of(made(), 0, 0, 1, nothing, HERE):
            taken.append(len(taken))
            yield execution

    placed = placed_ahead(executions())
    first = next(placed)
    assert taken == [0, 1]
    assert first.samples == 4
    assert [e.samples for e in placed] == [4, 2]
    assert list(placed_ahead(iter(()))) == []


def test_on_an_accelerator_batches_are_put_there_ahead_but_those_of_loaders(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    first = next(executions_of(made(), 0, 0, 1, nothing, HERE))
    assert isinstance(first.batches[0].x, jax.Array)
    fetched = []

    class Loader:
        def __iter__(self):
            for i in (0, 4):
                fetched.append(i)
                yield X[i : i + 4], Y[i : i + 4]

    first = next(executions_of(made(Loader(), None), 0, 0, 1, nothing, HERE))
    assert isinstance(first.batches[0].x, jax.Array)
    assert fetched == [0]
