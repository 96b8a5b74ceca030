import equinox as eqx
import jax
import numpy as np
import optax
import pytest
from flax import nnx

from callboard import UnsupportedError
from callboard.callbacks import TensorBoard
from callboard.jax import Model, state_trainable

X = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")


class Branches(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([nnx.Linear(4, 3, rngs=rngs), nnx.Linear(3, 2, rngs=rngs)])
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.blocks[1](self.dropout(self.norm(self.blocks[0](x))))


def test_layers_of_nnx_in_evaluation_mode_leave_no_trace():
    module = Branches(nnx.Rngs(0))
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))
    calls = nnx.Linear.__call__, nnx.BatchNorm.__call__
    found = state_trainable((module, optax.adam(1e-3))).activations((X, None))
    assert {name: array.shape for name, array in found.items()} == {
        "blocks.0": (6, 3), "norm": (6, 3), "dropout": (6, 3), "blocks.1": (6, 2),
    }  # fmt: skip
    np.testing.assert_array_equal(found["norm"], found["dropout"])  # nothing was dropped
    np.testing.assert_array_equal(found["blocks.0"], module.blocks[0](X))
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert calls == (nnx.Linear.__call__, nnx.BatchNorm.__call__)


def test_layers_of_equinox_are_called_sample_by_sample():
    key = jax.random.key(0)
    module = eqx.nn.Sequential(
        [eqx.nn.Linear(4, 3, key=key), eqx.nn.Dropout(0.5), eqx.nn.Lambda(jax.nn.relu)]
    )
    found = state_trainable({"model": module}).activations({"image": X, "label": None})
    assert {name: array.shape for name, array in found.items()} == {
        "layers.0": (6, 3), "layers.1": (6, 3), "layers.2": (6, 3),
    }  # fmt: skip
    np.testing.assert_array_equal(found["layers.2"], np.maximum(found["layers.0"], 0))


class Two(nnx.Module):
    def __init__(self, rngs):
        self.left = nnx.Linear(4, 3, rngs=rngs)
        self.right = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.left(x["left"]) - self.right(x["right"])


def test_a_dict_of_inputs_goes_into_a_model_as_it_is(tmp_path):
    model = Model(Two(nnx.Rngs(0)))
    model.compile("sgd", "mse", steps_per_execution=2)
    x = {"left": X, "right": -X}
    board = TensorBoard(tmp_path, histogram_freq=1)
    model.fit(x, np.zeros((6, 3)), batch_size=2, verbose=0, callbacks=[board])
    for batch in (x, (x, None)):
        found = model.trainable.activations(batch)
        np.testing.assert_allclose(found["left"] - found["right"], model(x), rtol=1e-6)
    (file,) = (tmp_path / "train").glob("*.tfevents.*")
    written = file.read_bytes()
    assert b"right/activations/histogram" in written
    assert b"right/dot_general" in written  # the graph's


def test_of_a_dict_that_a_loops_loader_yields_the_first_value_goes_in():
    trainable = state_trainable(Branches(nnx.Rngs(0)))
    found = trainable.activations({"image": X, "label": None})
    np.testing.assert_array_equal(found["norm"], trainable.activations(X)["norm"])
    batch = {"image": X, "label": np.zeros(6)}
    names = {node.name for node in trainable.inspection.graph(batch).nodes}
    assert "blocks/0/dot_general" in names


def test_arrays_alone_have_no_layers():
    with pytest.raises(UnsupportedError, match="activations=False"):
        state_trainable({"w": X}).activations(X)
