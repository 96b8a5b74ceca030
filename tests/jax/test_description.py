import numpy as np
import pytest

jnp = pytest.importorskip("jax.numpy")
optax = pytest.importorskip("optax")

from callboard import Run  # noqa: E402 - only with jax
from callboard._core.inspection import inspection_of  # noqa: E402 - only with jax
from callboard.jax import Model  # noqa: E402 - only with jax


def test_state_of_a_loop_tells_its_optimizer():
    params = {"w": jnp.ones((3, 2))}
    optimizer = optax.chain(optax.clip(1.0), optax.inject_hyperparams(optax.adam)(0.1, b2=0.99))
    run = Run(state=(params, optimizer.init(params)), verbose=0)
    seen = inspection_of(run.trainable)
    assert seen.description() == {
        "parameters": 6,
        "optimizer": "scale_by_adam",
        "scale_by_adam": {"b1": 0.9, "b2": 0.99, "eps": 1e-8},
    }
    assert seen.summary().splitlines()[1].split() == ["w", "3x2", "6"]


def test_compiled_model_tells_loss_and_metrics():
    def net(params, x):
        return x @ params

    model = Model(net, jnp.ones((2, 1)))
    model.compile("sgd", loss="mse", metrics=["mae"])
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    assert inspection_of(model.trainable).description() == {
        "parameters": 2,
        "model": "net",
        "optimizer": "sgd",
        "loss": "mean_squared_error",
        "metrics": "mae",
    }
    for optimizer, name in ((optax.lamb, "lamb"), (optax.adam(0.1), "scale_by_adam")):
        model.compile(optimizer, loss="mse")
        assert inspection_of(model.trainable).description()["optimizer"] == name
