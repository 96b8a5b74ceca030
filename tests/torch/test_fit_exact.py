"""A fit is the plain loop of PyTorch, number by number."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from callboard import ConfigurationError
from callboard.callbacks import LambdaCallback
from callboard.torch import Model, losses

X = torch.randn(22, 4, generator=torch.Generator().manual_seed(1))
Y = torch.randn(22, 3, generator=torch.Generator().manual_seed(2))
LABELS = torch.randint(3, (22,), generator=torch.Generator().manual_seed(3))
WEIGHTS = torch.rand(22, generator=torch.Generator().manual_seed(4))

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAM = functools.partial(torch.optim.Adam, lr=0.02)


def net(*last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3), *last)


def fitted(module, optimizer, loss="mse", y=Y, *, epochs=3, batch_size=5, weight=None, **options):
    model = Model(module)
    model.compile(optimizer(module.parameters()), loss, **options)
    model.fit(
        X,
        y,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        sample_weight=weight,
    )
    return model


def batches(*tensors, size=5):
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


def assert_same_weights(one, other, **tolerance):
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, **tolerance, msg=name)


@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_weights_and_history_are_those_of_a_plain_loop(optimizer):
    plain = net()
    opt = optimizer(plain.parameters())
    history = []
    for _ in range(3):
        total = 0.0
        for x, y in batches(X, Y):
            loss = functional.mse_loss(plain(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            total += loss.item() * len(x)
        history.append(total / len(X))
    model = fitted(net(), optimizer)
    assert_same_weights(plain, model.module, rtol=0, atol=0)
    assert model.history.history["loss"] == pytest.approx(history, rel=1e-6)
    assert model.optimizer.iterations == 15


@pytest.mark.parametrize("steps", [2, 4])
def test_gradients_of_several_batches_are_averaged_for_one_update(steps):
    plain = net()
    opt = SGD(plain.parameters())
    done = 0
    for _ in range(3):
        for x, y in batches(X, Y):
            (functional.mse_loss(plain(x), y) / steps).backward()
            done += 1
            if done % steps == 0:  # goes on over the epochs
                opt.step()
                opt.zero_grad()
    model = fitted(net(), SGD, gradient_accumulation_steps=steps)
    assert_same_weights(plain, model.module, rtol=1e-6, atol=1e-7)
    assert model.optimizer.iterations == 15 // steps


CLIP = {
    "clipvalue": lambda p: nn.utils.clip_grad_value_(p, 0.02),
    "global_clipnorm": lambda p: nn.utils.clip_grad_norm_(p, 0.02),
    "clipnorm": lambda p: [nn.utils.clip_grad_norm_(each, 0.02) for each in p],
}


@pytest.mark.parametrize("name", CLIP)
def test_gradients_are_clipped(name):
    plain = net()
    opt = SGD(plain.parameters())
    for _ in range(2):
        for x, y in batches(X, Y):
            opt.zero_grad()
            functional.mse_loss(plain(x), y).backward()
            CLIP[name](list(plain.parameters()))
            opt.step()
    model = fitted(net(), SGD, epochs=2, **{name: 0.02})
    # PyTorch adds 1e-6 to the norm that it divides by.
    assert_same_weights(plain, model.module, rtol=2e-4, atol=1e-6)
    unclipped = fitted(net(), SGD, epochs=2)
    assert not torch.allclose(model.module[0].weight, unclipped.module[0].weight, atol=1e-3)


def test_outputs_and_losses_are_computed_in_bfloat16_where_asked_to():
    plain = net()
    opt = SGD(plain.parameters())
    for x, y in batches(X, Y):
        opt.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = plain(x)
            loss = functional.mse_loss(out.float(), y)
        assert out.dtype is torch.bfloat16
        loss.backward()
        opt.step()
    model = fitted(net(), SGD, epochs=1, mixed_precision="bf16")
    assert_same_weights(plain, model.module, rtol=0, atol=0)
    assert model.module[0].weight.dtype is torch.float32
    assert model.predict(X, verbose=0).dtype == np.float32
    exact = fitted(net(), SGD, epochs=1)
    assert not torch.equal(exact.module[0].weight, model.module[0].weight)


def test_sample_weights_and_class_weights_are_applied_by_the_rule_of_keras():
    class_weight = {0: 0.5, 2: 3.0}
    table = torch.tensor([0.5, 1.0, 3.0])
    plain = net()
    opt = SGD(plain.parameters())
    expected = 0.0
    for x, y, weight in batches(X, LABELS, WEIGHTS):
        each = functional.cross_entropy(plain(x), y, reduction="none")
        loss = (each * weight * table[y]).sum() / len(x)  # by the number, not the sum of weights
        opt.zero_grad()
        loss.backward()
        opt.step()
        expected += loss.item() * len(x)
    model = Model(net(nn.Softmax(-1)))
    model.compile(
        SGD(model.module.parameters()),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=[losses.SparseCategoricalCrossentropy(name="weighted")],
    )
    model.fit(
        X,
        LABELS,
        batch_size=5,
        shuffle=False,
        verbose=0,
        sample_weight=WEIGHTS,
        class_weight=class_weight,
    )
    assert_same_weights(plain, model.module, rtol=1e-5, atol=1e-6)
    assert model.history.history["loss"] == [pytest.approx(expected / len(X), rel=1e-5)]


def test_weighted_metrics_are_weighted_and_others_not():
    module = nn.Linear(4, 3)
    model = Model(module)
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    loss, mae, mse = model.evaluate(X, Y, sample_weight=WEIGHTS, batch_size=5, verbose=0)
    error = (module(X) - Y).detach()
    assert loss == pytest.approx((error.square().mean(1) * WEIGHTS).mean().item(), rel=1e-5)
    assert mae == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert mse == pytest.approx(
        ((error.square().mean(1) * WEIGHTS).sum() / WEIGHTS.sum()).item(), rel=1e-5
    )


LOSSES = {
    "a name": "mse",
    "a loss": losses.MeanSquaredError(),
    "a loss module": nn.MSELoss(),
    "a function": lambda y_true, y_pred: (y_true - y_pred).square().mean(-1),
    "a function of one number": lambda y_true, y_pred: (y_true - y_pred).square().mean(),
    "a list of one": ["mse"],
}


@pytest.mark.parametrize("kind", LOSSES)
def test_every_way_to_give_a_loss_is_the_same(kind):
    reference = fitted(net(), SGD)
    model = fitted(net(), SGD, LOSSES[kind])
    assert_same_weights(reference.module, model.module, rtol=1e-5, atol=1e-6)
    assert model.history.history["loss"] == pytest.approx(
        reference.history.history["loss"], rel=1e-5
    )


def test_a_softmax_and_its_loss_train_as_cross_entropy_on_logits():
    plain = fitted(net(), SGD, nn.CrossEntropyLoss(), LABELS)
    named = fitted(net(nn.Softmax(-1)), SGD, "sparse_categorical_crossentropy", LABELS)
    told = fitted(net(), SGD, losses.SparseCategoricalCrossentropy(from_logits=True), LABELS)
    assert_same_weights(plain.module, named.module, rtol=1e-6, atol=1e-7)
    assert_same_weights(plain.module, told.module, rtol=1e-6, atol=1e-7)
    assert named.predict(X, verbose=0).sum(-1) == pytest.approx(np.ones(22), rel=1e-5)


def test_logits_with_a_loss_on_probabilities_are_an_error_before_any_update():
    module = net()
    before = {name: value.clone() for name, value in module.named_parameters()}
    with pytest.raises(ConfigurationError, match="takes probabilities"):
        fitted(module, SGD, "sparse_categorical_crossentropy", LABELS)
    for name, value in module.named_parameters():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("size", [2, 3, 7])
def test_several_batches_an_execution_train_as_one_by_one(size):
    heard = []
    reference = fitted(net(), SGD, epochs=2)
    module = net()
    model = Model(module)
    model.compile(SGD(module.parameters()), "mse", steps_per_execution=size)
    model.fit(
        X,
        Y,
        batch_size=5,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[
            LambdaCallback(
                on_train_batch_begin=lambda batch, logs: heard.append(("begin", batch)),
                on_train_batch_end=lambda batch, logs: heard.append(("end", batch)),
            )
        ],
    )
    begins = list(range(0, 5, size))
    ends = [min(begin + size, 5) - 1 for begin in begins]
    epoch = [line for pair in zip(begins, ends, strict=True) for line in pair]
    assert [batch for _, batch in heard] == epoch * 2
    assert_same_weights(reference.module, model.module, rtol=0, atol=0)
    assert model.history.history == reference.history.history


class Own(Model):
    """A training step as the documentation shows it, with a number of its own in the logs."""

    def train_step(self, batch):
        self.optimizer.zero_grad()
        loss = functional.mse_loss(self(batch.x, training=True), batch.y)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss, "size": float(len(batch.x))}


def test_a_training_step_of_ones_own_is_used_and_its_values_averaged():
    reference = fitted(net(), SGD)
    module = net()
    model = Own(module)
    model.compile(SGD(module.parameters()), "mse", steps_per_execution=2)
    history = model.fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0).history
    assert_same_weights(reference.module, module, rtol=0, atol=0)
    assert history["loss"] == pytest.approx(reference.history.history["loss"], rel=1e-6)
    assert history["size"] == [pytest.approx((4 * 5 * 5 + 2 * 2) / 22)] * 3
    assert "size" not in model.evaluate(X, Y, verbose=0, return_dict=True)
    assert model.train_on_batch(X[:4], Y[:4], return_dict=True)["size"] == 4.0


class Extended(Model):
    def train_step(self, batch):
        return {**super().train_step(batch), "norm": batch.x.norm()}


@pytest.mark.parametrize("parts", [1, 2])
def test_the_usual_step_can_be_called_from_ones_own(parts):
    reference = fitted(net(), SGD, gradient_accumulation_steps=parts, metrics=["mae"])
    module = net()
    model = Extended(module)
    model.compile(
        SGD(module.parameters()), "mse", gradient_accumulation_steps=parts, metrics=["mae"]
    )
    history = model.fit(X, Y, batch_size=5, epochs=3, shuffle=False, verbose=0).history
    assert_same_weights(reference.module, module, rtol=0, atol=0)
    assert set(history) == {"loss", "mae", "norm"}
    assert history["mae"] == pytest.approx(reference.history.history["mae"], rel=1e-5)


def test_a_training_step_that_returns_nothing_is_an_error():
    class Silent(Model):
        def train_step(self, batch):
            pass

    model = Silent(net())
    model.compile("sgd", "mse")
    with pytest.raises(ConfigurationError, match="train_step must return what is to be logged"):
        model.fit(X, Y, verbose=0)


def test_batches_one_by_one_train_as_a_fit_does_and_accumulate_too():
    reference = fitted(net(), SGD, epochs=1, gradient_accumulation_steps=2)
    module = net()
    model = Model(module)
    model.compile(SGD(module.parameters()), "mse", gradient_accumulation_steps=2, metrics=["mae"])
    for x, y in batches(X, Y):
        loss, mae = model.train_on_batch(x, y)
        assert loss > 0
        assert mae > 0
    assert_same_weights(reference.module, module, rtol=0, atol=0)


def test_batches_one_by_one_are_trained_on_after_a_layer_was_exchanged():
    module = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
    model = Model(module)
    model.compile(SGD(module.parameters()), "sparse_categorical_crossentropy")
    model.train_on_batch(X, LABELS)
    module[1] = nn.Softmax(1)
    heard = []
    module[1].register_forward_hook(lambda *_: heard.append(1))
    model.train_on_batch(X, LABELS)
    assert heard == [1]


def test_a_function_of_the_rate_that_pytorch_schedules_may_run_beside_it():
    module = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    model = Model(module)
    model.compile(optimizer, "mse")
    model.fit(
        X,
        Y,
        epochs=2,
        verbose=0,
        callbacks=[LambdaCallback(on_epoch_end=lambda epoch, logs: scheduler.step())],
    )
    assert model.optimizer.lr == 0.025
