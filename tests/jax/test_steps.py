"""What is compiled."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from callboard._core.batches import Batch
from callboard.jax import Model


class Network(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(64, 128, rngs=rngs)
        self.last = nnx.Linear(128, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.relu(self.first(x)))


def traced(guards, **options):
    """Return the step of a model, traced for a batch."""
    model = Model(Network(nnx.Rngs(0)))
    model.compile("adam", "mse", **options)
    x, y = np.ones((8, 64), "f4"), np.ones((8, 2), "f4")
    model.fit(x, y, batch_size=8, verbose=0)
    step, per_call = model.learner.train_step, options.get("steps_per_execution", 1)
    batch = Batch(jnp.asarray(x), jnp.asarray(y), None)
    if per_call > 1:
        batch = jax.tree.map(lambda a: jnp.stack([a] * per_call), batch)
    function = step._function(guards, stacked=per_call > 1)
    return function.trace(model.state, step._sums, jnp.zeros(2, jnp.float32), batch)


@pytest.mark.parametrize("per_call", [1, 3])
@pytest.mark.parametrize("guards", ["", "loss", "gradients"])
def test_the_state_is_updated_in_place_also_when_it_is_guarded(guards, per_call):
    compiled = traced(guards, steps_per_execution=per_call).lower().compile().as_text()
    assert "f32[64,128]" in compiled
    assert not re.findall(r"f32\[64,128\]\S* copy\(", compiled)


def test_a_gpu_decides_without_its_host_on_a_guarded_update():
    gpu = traced("loss").lower(lowering_platforms=("cuda",)).as_text()
    cpu = traced("loss").lower(lowering_platforms=("cpu",)).as_text()
    assert gpu.count("stablehlo.case") == 2  # on constants: the platform's number, and its branch
    assert cpu.count("stablehlo.case") == 3
    assert gpu.count("stablehlo.select") > cpu.count("stablehlo.select")
