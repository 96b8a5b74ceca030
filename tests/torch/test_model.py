import copy
import math

import numpy as np
import pytest
import torch
import torchmetrics
from torch import nn

from callboard import ConfigurationError, ConfigurationWarning, DataError, RunStateError
from callboard.callbacks import LambdaCallback
from callboard.torch import Model, metrics

X = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)


def compiled(module=None, loss="mse", **options):
    torch.manual_seed(0)
    model = Model(module or nn.Linear(4, 1))
    model.compile("sgd", loss, **options)
    return model


@pytest.mark.parametrize("given", [nn.Linear, 3, None, "net", lambda x: x])
def test_a_model_takes_a_module(given):
    with pytest.raises(ConfigurationError, match=r"takes a torch\.nn\.Module object"):
        Model(given)
    with pytest.raises(ConfigurationError, match="call the class to make one"):
        Model(nn.Linear)


def test_what_the_model_lacks_is_the_modules():
    module = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    model = Model(module)
    assert next(iter(model.parameters())) is module[0].weight
    assert model.state_dict().keys() == module.state_dict().keys()
    assert model.eval() is module
    with pytest.raises(AttributeError, match="neither Model nor Sequential has 'layerz'"):
        _ = model.layerz
    assert not hasattr(model, "layerz")
    assert repr(model).startswith("Model(Sequential(")


def test_a_model_can_be_copied():
    model = compiled()
    model.fit(X, Y, verbose=0)
    other = copy.deepcopy(model)
    assert other.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    other.fit(X, Y, verbose=0)
    assert other.evaluate(X, Y, verbose=0) != model.evaluate(X, Y, verbose=0)


def test_the_device_is_that_of_the_first_weight_or_buffer():
    class Buffered(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.zeros(2, device="meta"))

    assert Model(nn.Linear(2, 1, device="meta")).device.type == "meta"
    assert Model(Buffered()).device.type == "meta"
    assert Model(nn.ReLU()).device.type == "cpu"


def test_calling_the_model_calls_the_module_and_leaves_its_mode():
    model = Model(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
    model.module[1].eval()
    quiet = model(X)
    assert torch.equal(quiet, model.module[0](X))
    assert quiet.requires_grad
    assert (model(X, training=True) == 0).any()
    assert [layer.training for layer in model.module.modules()] == [True, True, False]


def test_evaluate_gives_a_number_a_list_or_a_dict():
    model = compiled()
    loss = model.evaluate(X, Y, verbose=0)
    assert loss == pytest.approx(nn.functional.mse_loss(model.module(X), Y).item(), rel=1e-6)
    model = compiled(metrics=["mae"], weighted_metrics=["mse"])
    values = model.evaluate(X, Y, batch_size=3, verbose=0)
    named = model.evaluate(X, Y, batch_size=3, verbose=0, return_dict=True)
    assert values == list(named.values())
    assert list(named) == ["loss", "mae", "mse"]
    assert all(type(value) is float for value in values)


@pytest.mark.parametrize("act", ["train_on_batch", "test_on_batch"])
def test_one_batch_gives_its_loss_and_metrics(act):
    model = compiled(metrics=["mae"])
    expected = model.evaluate(X, Y, verbose=0)
    assert getattr(model, act)(X.numpy(), Y.double().numpy()) == pytest.approx(expected, rel=1e-6)
    model = compiled()
    loss = getattr(model, act)(X.tolist(), Y.tolist(), return_dict=True)
    assert loss == {"loss": pytest.approx(expected[0], rel=1e-6)}


def test_one_batch_may_have_weights():
    model = compiled()
    assert model.test_on_batch(X, Y, torch.zeros(10)) == 0.0
    assert model.train_on_batch(X, Y, class_weight=dict.fromkeys(range(20), 0.0)) >= 0.0
    assert model.train_on_batch(X, torch.zeros(10, 1), class_weight={0: 0.0}) == 0.0


def test_testing_a_batch_trains_nothing_and_leaves_the_mode():
    model = compiled(nn.Sequential(nn.Linear(4, 1), nn.BatchNorm1d(1)))
    before = model.get_weights()
    model.test_on_batch(X, Y)
    assert all(map(np.array_equal, model.get_weights(), before))
    assert model.module.training


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        y = self.layer(x)
        return {"y": y, "pair": (y * 2, [y.bool()])}


def test_predictions_are_arrays_nested_as_the_outputs_are():
    model = Model(Nested())
    for outputs in (
        model.predict(X, batch_size=3, verbose=0),
        model.predict_on_batch(X.double().numpy()),
    ):
        assert outputs["y"].shape == (10, 1)
        assert isinstance(outputs["pair"], tuple)
        np.testing.assert_allclose(outputs["pair"][0], outputs["y"] * 2, rtol=1e-6)
        assert outputs["pair"][1][0].dtype == bool


def test_predictions_do_not_change_the_module():
    model = Model(nn.Sequential(nn.Linear(4, 1), nn.BatchNorm1d(1), nn.Dropout(0.9)))
    before = model.get_weights()
    first, second = model.predict(X, verbose=0), model.predict_on_batch(X)
    np.testing.assert_array_equal(first, second)
    assert all(map(np.array_equal, model.get_weights(), before))
    assert model.module.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_predictions_in_half_precision_are_float32(dtype):
    model = Model(nn.Linear(4, 1).to(dtype))
    assert model.predict(X.to(dtype), verbose=0).dtype == np.float32
    assert model.predict_on_batch(X.to(dtype)).dtype == np.float32


def test_predictions_are_made_in_the_models_precision():
    model = compiled(mixed_precision="bf16")
    np.testing.assert_array_equal(model.predict(X, verbose=0), model.predict_on_batch(X))
    exact = model.module(X).detach().numpy()
    assert not np.array_equal(model.predict(X, verbose=0), exact)
    np.testing.assert_allclose(model.predict(X, verbose=0), exact, atol=0.05)


def test_callbacks_see_the_outputs_of_every_batch():
    seen = []
    watch = LambdaCallback(on_predict_batch_end=lambda batch, logs: seen.append(logs["outputs"]))
    model = Model(nn.Linear(4, 1))
    outputs = model.predict(X, batch_size=4, verbose=0, callbacks=[watch])
    np.testing.assert_array_equal(np.concatenate(seen), outputs)
    assert watch.params == {"verbose": 0, "epochs": 1, "steps": 3}


def test_a_pass_can_be_limited_to_some_batches():
    model = compiled()
    assert len(model.predict(X, batch_size=3, steps=2, verbose=0)) == 6
    some = model.evaluate(X, Y, batch_size=3, steps=2, verbose=0)
    assert some == pytest.approx(model.evaluate(X[:6], Y[:6], verbose=0), rel=1e-6)
    watch = LambdaCallback()
    with pytest.warns(ConfigurationWarning, match="after 4 batches, and steps=99"):
        model.evaluate(X, Y, batch_size=3, steps=99, verbose=0, callbacks=[watch])
    assert watch.params["steps"] == 4
    endless = ((X[:2], Y[:2]) for _ in iter(int, 1))
    model.evaluate(endless, steps=3, verbose=0, callbacks=[watch])
    assert watch.params["steps"] == 3
    assert len(model.predict(endless, steps=3, verbose=0)) == 6


@pytest.mark.parametrize("steps", [0, -1, 1.5])
def test_an_impossible_limit_is_an_error(steps):
    model = compiled()
    with pytest.raises(ConfigurationError, match="steps must be a whole number"):
        model.evaluate(X, Y, steps=steps, verbose=0)
    with pytest.raises(ConfigurationError, match="steps must be a whole number"):
        model.predict(X, steps=steps, verbose=0)


def test_predict_takes_only_the_inputs_of_a_loader():
    model = Model(nn.Linear(4, 1))
    loader = [(X[:5], Y[:5]), (X[5:], Y[5:])]
    np.testing.assert_array_equal(model.predict(loader, verbose=0), model.predict(X, verbose=0))


def test_weights_are_read_and_written_as_a_list():
    model, other = compiled(), compiled()
    model.fit(X, Y, verbose=0)
    weights = model.get_weights()
    other.set_weights(weights)
    assert all(map(np.array_equal, other.get_weights(), weights))
    weights[0][:] = 9
    assert model.get_weights()[0].max() < 9
    with pytest.raises(DataError, match="has 2 weights and buffers; got 1"):
        model.set_weights(weights[:1])
    with pytest.raises(DataError, match="has shape"):
        model.set_weights(weights[::-1])
    assert model.get_weights()[0].max() < 9


def test_the_rate_is_read_and_set_as_in_keras():
    model = compiled()
    assert model.optimizer.lr.numpy() == np.float32(0.01)
    model.optimizer.learning_rate = 0.5
    model.optimizer.lr.assign(0.25)
    assert model.optimizer.param_groups[0]["lr"] == 0.25


def test_the_optimizer_is_asked_for_after_compiling():
    with pytest.raises(RunStateError, match=r"no optimizer; call model\.compile"):
        Model(nn.Linear(4, 1)).require_optimizer()
    assert compiled().require_optimizer().lr == 0.01


def test_compiling_anew_begins_with_a_new_optimizer():
    model = compiled()
    model.fit(X, Y, verbose=0)
    assert model.optimizer.iterations == 1
    model.compile("adam", "mae")
    assert model.optimizer.iterations == 0
    assert type(model.optimizer.wrapped) is torch.optim.Adam


def test_weights_that_need_no_gradient_are_not_trained():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    module[0].requires_grad_(False)
    model = compiled(module)
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    after = model.get_weights()
    assert np.array_equal(before[0], after[0])
    assert not np.array_equal(before[2], after[2])


def test_known_metrics_are_those_of_compile_and_unknown_with_a_step_of_ones_own():
    class Own(Model):
        def train_step(self, batch):
            return {}

    assert compiled(metrics=["mae"]).known_metrics() == {"loss": "min", "mae": "min"}
    assert Model(nn.Linear(1, 1)).known_metrics() is None
    own = Own(nn.Linear(1, 1))
    own.compile("sgd", "mse")
    assert own.known_metrics() is None


def test_metrics_of_torchmetrics_are_measured():
    model = compiled(metrics=[torchmetrics.MeanAbsoluteError(), metrics.MeanSquaredError("ours")])
    named = model.evaluate(X, Y, batch_size=3, verbose=0, return_dict=True)
    error = (model.module(X) - Y).detach()
    assert named["mean_absolute_error"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert named["ours"] == pytest.approx(named["loss"], rel=1e-5)


def test_a_metric_that_gives_a_vector_is_an_error():
    class Vector(metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return torch.zeros(2)

    model = compiled(metrics=[Vector()])
    with pytest.raises(DataError, match=r"metric 'vector' has shape \(2,\)"):
        model.fit(X, Y, verbose=0)


def test_a_loss_that_is_nan_is_shown_as_such_and_training_goes_on():
    model = compiled()
    x = X.clone()
    x[0] = math.nan
    assert all(map(math.isnan, model.fit(x, Y, epochs=2, verbose=0).history["loss"]))
