"""Optimizers of optax of all kinds in ``Model``, and their learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from callboard import ConfigurationError
from callboard.callbacks import LearningRateScheduler, TerminateOnNaN
from callboard.jax import Model

X = np.random.default_rng(0).normal(size=(32, 4)).astype("f4")
Y = X.sum(1, keepdims=True)
ADAM = optax.inject_hyperparams(optax.adam)(0.125)


def apply_fn(params, x):
    return x @ params["w"] + params["b"]


def made(optimizer, dtype="f4"):
    model = Model(apply_fn, {"w": jnp.zeros((4, 1), dtype), "b": jnp.zeros(1, dtype)})
    model.compile(optimizer, "mse")
    return model


def fitted(model, *callbacks, epochs=3):
    return model.fit(X, Y, 8, epochs=epochs, verbose=0, callbacks=callbacks).history


@pytest.mark.parametrize(
    ("optimizer", "updates"),
    [
        (optax.chain(optax.clip(1.0), ADAM), 12),
        (optax.MultiSteps(ADAM, 2), 6),
        (optax.masked(ADAM, {"w": True, "b": False}), 12),
        (optax.multi_transform({"a": ADAM, "b": optax.sgd(0.5)}, {"w": "a", "b": "b"}), 12),
        (optax.apply_if_finite(ADAM, 2), 12),
    ],
    ids=["chain", "MultiSteps", "masked", "multi_transform", "apply_if_finite"],
)
def test_the_rate_is_found_and_set_inside_of_other_optimizers(optimizer, updates):
    model = made(optimizer)
    history = fitted(model, LearningRateScheduler(lambda _, rate: rate / 2))
    assert history["learning_rate"] == [0.0625, 0.03125, 0.015625]
    assert model.optimizer.iterations == updates
    frozen = made(optimizer)
    fitted(frozen, LearningRateScheduler(lambda _: 0.0))
    np.testing.assert_array_equal(frozen.trainable.weights()["w"], np.zeros((4, 1)))


@pytest.mark.parametrize("guards", [[], [TerminateOnNaN()]], ids=["plain", "guarded"])
def test_optimizers_that_ask_for_the_loss_are_given_it(guards):
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, rtol=1.0, patience=1)
    model = made(optax.chain(optax.sgd(0.01), plateau))
    fitted(model, *guards)
    assert float(model.state.opt_state[1].scale) < 1
    searching = made(optax.lbfgs())
    history = searching.fit(X, Y, 32, epochs=9, verbose=0, callbacks=guards).history
    assert history["loss"][-1] < 1e-6


def test_small_changes_of_the_rate_count_beside_parameters_in_half_precision():
    model = made("sgd", "bfloat16")
    fitted(model, LearningRateScheduler(lambda _, rate: rate * 0.999))
    assert model.optimizer.learning_rate == pytest.approx(0.01 * 0.999**3)
    assert {leaf.dtype for leaf in jax.tree.leaves(model.state.params)} == {jnp.dtype("bfloat16")}


def test_an_optimizer_of_nnx_is_refused_in_a_few_words():
    module = nnx.Linear(4, 1, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(module, optax.sgd(0.1), wrt=nnx.Param)
    model = Model(module)
    with pytest.raises(ConfigurationError, match=r"got Optimizer\(...\); pass .* its tx$"):
        model.compile(optimizer, "mse")
    model.compile(optimizer.tx, "mse")
    assert np.isfinite(fitted(model)["loss"]).all()
