import equinox as eqx
import jax
import numpy as np
import optax
import pytest
from flax import nnx

from callboard import UnsupportedError
from callboard.jax import state_trainable

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


def test_arrays_alone_have_no_layers():
    with pytest.raises(UnsupportedError, match="activations=False"):
        state_trainable({"w": X}).activations(X)
