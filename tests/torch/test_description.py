import pytest

torch = pytest.importorskip("torch")

from callboard._core.inspection import inspection_of  # noqa: E402 - only with torch
from callboard.torch import Model  # noqa: E402 - only with torch


def described(model):
    return inspection_of(model.trainable).description()


def test_compiled_model_tells_all():
    model = Model(torch.nn.Linear(2, 1))
    model.compile("adamw", loss="mse", metrics=["mae"])
    assert described(model) == {
        "model": "Linear",
        "parameters": 3,
        "optimizer": "AdamW",
        "AdamW": {
            "betas": "0.9, 0.999",
            "eps": 1e-7,
            "weight_decay": 0.004,
            "decoupled_weight_decay": True,
        },
        "loss": "mean_squared_error",
        "metrics": "mae",
    }


def test_frozen_and_lazy_layers():
    model = Model(torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.LazyLinear(4)))
    model.module[0].requires_grad_(requires_grad=False)
    assert described(model) == {"model": "Sequential", "parameters": 3, "trained parameters": 0}


def test_several_outputs_have_a_loss_each():
    model = Model(torch.nn.Linear(2, 1))
    model.compile("sgd", loss={"a": "mse", "b": "mae"}, metrics={"a": ["mae"], "b": []})
    found = described(model)
    assert found["loss"] == "a_mean_squared_error, b_mean_absolute_error"
    assert found["metrics"] == "a_mae"
