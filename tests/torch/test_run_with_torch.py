"""Loops written by hand, around a module and an optimizer of PyTorch."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from callboard import Callback, ConfigurationError, Run
from callboard._core.checks import ConfigurationWarning
from callboard._core.errors import NonFiniteError, UnsupportedError
from callboard.callbacks import (
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from callboard.torch import Model

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)


def parts(kind=torch.optim.SGD, lr=0.05, **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    return net, kind(net.parameters(), lr=lr, **options)


def loader(x=X, y=Y):
    return DataLoader(TensorDataset(x, y), batch_size=6)


def train(net, opt, *callbacks, data=None, epochs=3, validate=True, each=None, model=None):
    """Train as the documentation shows it."""
    run = Run(model=model or net, optimizer=opt, epochs=epochs, callbacks=callbacks, verbose=0)
    with run:
        for _ in run.epochs():
            net.train()
            for x, y in run.train(data or loader()):
                loss = functional.mse_loss(net(x), y)
                opt.zero_grad()
                loss.backward()
                opt.step()
                run.log(loss=loss)
                if each is not None:
                    each(net)
            if validate:
                net.eval()
                with torch.no_grad():
                    for x, y in run.validate(loader()):
                        run.log(loss=functional.mse_loss(net(x), y))
    return run


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def assert_same(one, other):
    for name, value in one.items():
        assert torch.equal(other[name], value), name


def test_the_run_changes_nothing_about_the_training():
    net, opt = parts()
    for _ in range(3):
        for x, y in loader():
            opt.zero_grad()
            functional.mse_loss(net(x), y).backward()
            opt.step()
    watched, optimizer = parts()
    run = train(watched, optimizer)
    assert_same(weights(net), weights(watched))
    assert set(run.history.history) == {"loss", "val_loss"}
    assert run.progress.step == 12
    assert run.progress.samples == 72


def test_logged_losses_are_means_over_samples():
    net, opt = parts()
    losses = []
    run = Run(model=net, optimizer=opt, verbose=0)
    with run:
        for _ in run.epochs():
            for x, y in run.train([(X[:20], Y[:20]), (X[20:], Y[20:])]):
                loss = functional.mse_loss(net(x), y)
                losses.append(loss.item())
                run.log({"loss": loss, "half": loss.bfloat16()})
    assert run.history.history["loss"] == [
        pytest.approx((losses[0] * 20 + losses[1] * 4) / 24, rel=1e-6)
    ]
    assert run.history.history["half"] == [pytest.approx(run.history.history["loss"][0], rel=0.01)]


def test_callbacks_see_the_module_as_a_model():
    net, opt = parts()
    seen = []

    class Looks(Callback):
        def on_epoch_end(self, epoch, logs=None):
            model = self.model
            seen.append(
                (
                    model.module is net,
                    model.optimizer.wrapped is opt,
                    len(model.get_weights()),
                    model.predict(X, verbose=0).shape,
                    model.module.training,
                )
            )

    train(net, opt, Looks(), epochs=1, validate=False)
    assert seen == [(True, True, 9, (24, 1), True)]


def test_early_stopping_restores_the_best_weights():
    net, opt = parts()
    kept = []
    keep = LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(weights(net)))
    worsen = LearningRateScheduler(lambda epoch, lr: 0.05 if epoch < 3 else 0.6)
    stopping = EarlyStopping(patience=2, restore_best_weights=True)
    run = train(net, opt, keep, worsen, stopping, epochs=30)
    best = int(np.nanargmin(run.history.history["val_loss"]))
    assert len(kept) == best + 3
    assert_same(kept[best], weights(net))
    assert run.journal.of("restored")


def test_a_plateau_lowers_the_rate_of_the_optimizer():
    net, opt = parts(lr=1e-9)
    run = train(net, opt, ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=10.0))
    assert opt.param_groups[0]["lr"] == 2.5e-10
    assert run.history.history["learning_rate"] == [1e-9, 1e-9, 5e-10]


def test_a_tensor_as_rate_is_changed_in_place():
    net, _ = parts()
    rate = torch.tensor(0.1)
    opt = torch.optim.Adam(net.parameters(), lr=rate)
    train(net, opt, LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)), epochs=2)
    assert opt.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.05)


def test_a_scheduler_of_pytorch_beside_a_plateau_is_warned_of():
    net, opt = parts()
    torch.optim.lr_scheduler.StepLR(opt, 1)
    with pytest.warns(ConfigurationWarning, match="lr_scheduler"):
        train(net, opt, ReduceLROnPlateau("loss"), epochs=1)


def test_the_rate_needs_an_optimizer_and_weights_need_a_model():
    net, opt = parts()
    with pytest.raises(UnsupportedError, match="pass Run\\(model=\\.\\.\\., optimizer="):
        Run(model=net, callbacks=[ReduceLROnPlateau("loss")], verbose=0).__enter__()
    with pytest.raises(UnsupportedError, match="needs the model"):
        Run(callbacks=[ModelCheckpoint("model.pt")], verbose=0).__enter__()
    with pytest.raises(UnsupportedError, match="needs the model too"):
        Run(optimizer=opt)
    with pytest.raises(ConfigurationError, match=r"torch\.optim\.Optimizer"):
        Run(model=net, optimizer="adam")


@pytest.mark.parametrize("suffix", [".pt", ".h5"])
def test_a_checkpoint_holds_the_optimizer_and_loads_into_both(tmp_path, suffix):
    net, opt = parts(torch.optim.Adam)
    path = tmp_path / f"best{suffix}"
    train(net, opt, ModelCheckpoint(path, "val_loss", save_best_only=True, mode="min"))
    other, optimizer = parts(torch.optim.Adam, lr=0.3)
    run = Run(model=other, optimizer=optimizer, verbose=0)
    run.trainable.load(path, weights_only=False)
    assert_same(weights(net), weights(other))
    assert optimizer.param_groups[0]["lr"] == 0.05
    for state, expected in zip(optimizer.state.values(), opt.state.values(), strict=True):
        assert torch.equal(state["exp_avg_sq"], expected["exp_avg_sq"])


def test_weights_alone_are_a_plain_state_dict(tmp_path):
    net, opt = parts()
    train(net, opt, ModelCheckpoint(tmp_path / "{epoch}.pt", save_weights_only=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.pt", "2.pt", "3.pt"]
    other, _ = parts()
    other.load_state_dict(torch.load(tmp_path / "3.pt", weights_only=True))
    assert_same(weights(net), weights(other))


class PrintLearningRateCallback(Callback):
    def on_epoch_end(self, epoch, logs=None):
        print(f"Learning rate for epoch {epoch + 1} is {self.model.optimizer.lr.numpy()}")  # noqa: T201 - as tutorials have it


def test_a_callback_of_a_tutorial_prints_the_rate(capsys):
    train(*parts(lr=0.5), PrintLearningRateCallback(), epochs=1)
    assert capsys.readouterr().out == "Learning rate for epoch 1 is 0.5\n"


def test_a_loop_that_steps_its_own_scheduler_is_left_alone():
    net, opt = parts(lr=0.4)
    scheduler = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.5)
    step = LambdaCallback(on_epoch_end=lambda epoch, logs: scheduler.step())
    train(net, opt, step, EarlyStopping("loss", mode="min", patience=9))
    assert opt.param_groups[0]["lr"] == pytest.approx(0.05)


# ---- losses and gradients that are not finite ---------------------------------------------------


def poisoned(batch):
    x = X.clone()
    x[batch * 6] = math.nan
    return loader(x)


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "adam": (torch.optim.Adam, {}),
    "fused adam": (torch.optim.Adam, {"fused": True}),
    "adagrad": (torch.optim.Adagrad, {}),
}


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_step_with_gradients_that_are_not_finite_is_skipped(name, batch):
    kind, options = OPTIMIZERS[name]
    net, opt = parts(kind, **options)
    before = [{n: p.detach().clone() for n, p in net.named_parameters()}]

    def keep(module):
        before.append({n: p.detach().clone() for n, p in module.named_parameters()})

    run = train(net, opt, TerminateOnNaN(), data=poisoned(batch), validate=False, each=keep)
    assert len(before) == batch + 2
    assert_same(before[batch], before[-1])
    assert run.stop_reason.startswith(f"batch {batch} has an invalid gradient: nan")
    assert not opt._optimizer_step_pre_hooks
    assert run.trainable.active_guard is None


def test_a_model_that_is_compiled_is_guarded_in_a_loop_of_ones_own_too():
    net, opt = parts()
    model = Model(net)
    model.compile(opt, "mse")
    run = train(net, opt, TerminateOnNaN(), data=poisoned(1), validate=False, model=model)
    assert run.stop_reason
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_no_later_step_is_made_where_a_look_is_rare():
    net, opt = parts()
    steps = []

    def keep(module):
        steps.append(module[0].weight.detach().clone())

    train(
        net,
        opt,
        TerminateOnNaN(check_freq=100),
        data=poisoned(1),
        validate=False,
        each=keep,
    )
    assert len(steps) == 4
    assert torch.equal(steps[0], steps[3])


def test_an_error_can_be_raised_and_the_guard_goes():
    net, opt = parts()
    with pytest.raises(NonFiniteError, match="batch 1 has an invalid gradient"):
        train(net, opt, TerminateOnNaN(raise_error=True), data=poisoned(1))
    assert not opt._optimizer_step_pre_hooks


def test_a_loss_that_is_never_used_for_a_step_stops_the_run_too():
    net, opt = parts()
    with Run(model=net, optimizer=opt, callbacks=[TerminateOnNaN()], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(3)):
                run.log(loss=torch.tensor(math.inf))
    assert run.stop_reason == "batch 0 has an invalid loss: inf"
    assert run.progress.batch == 1


def test_a_loop_without_a_model_is_looked_at_too():
    with Run(callbacks=[TerminateOnNaN()], verbose=0) as run:
        for _ in run.epochs():
            for value in run.train([1.0, math.nan, 1.0]):
                run.log(loss=value)
    assert run.stop_reason == "batch 1 has an invalid loss: nan"
    with pytest.raises(UnsupportedError, match="gradients"):
        Run(callbacks=[TerminateOnNaN(gradients=True)], verbose=0).__enter__()
