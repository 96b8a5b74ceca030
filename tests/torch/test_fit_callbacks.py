"""Callbacks at work on a torch module, in ``Model.fit``."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from callboard import Callback, ConfigurationError
from callboard._core.checks import ConfigurationWarning
from callboard._core.errors import MetricNotFoundError, NonFiniteError
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


def compiled(module=None, optimizer="sgd", **options):
    torch.manual_seed(0)
    model = Model(module or nn.Linear(4, 1))
    model.compile(optimizer, "mse", **options)
    return model


def fit(model, *callbacks, x=X, **options):
    return model.fit(
        x,
        Y,
        **{"batch_size": 6, "epochs": 3, "shuffle": False, "verbose": 0, **options},
        callbacks=list(callbacks),
    )


class Weights(Callback):
    def __init__(self):
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.get_weights())


def same(one, other):
    return all(map(np.array_equal, one, other))


def test_early_stopping_restores_the_weights_of_the_best_epoch():
    model, weights = compiled(), Weights()
    model.optimizer.learning_rate = 0.1
    worsen = LearningRateScheduler(lambda epoch, lr: 0.1 if epoch < 3 else 3.0)
    stopping = EarlyStopping("loss", patience=2, restore_best_weights=True)
    history = fit(model, weights, worsen, stopping, epochs=20)
    best = int(np.argmin(history.history["loss"]))
    assert stopping.best_epoch == best
    assert len(history.epoch) == best + 3
    assert same(model.get_weights(), weights.epochs[best])
    assert not same(model.get_weights(), weights.epochs[-1])


def test_a_plateau_lowers_the_rate_that_the_next_epoch_trains_with():
    model = compiled()
    model.optimizer.learning_rate = 1e-9
    plateau = ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=1.0)
    history = fit(model, plateau)
    assert history.history["learning_rate"] == [1e-9, 1e-9, 5e-10]
    assert model.optimizer.param_groups[0]["lr"] == 2.5e-10


def test_the_groups_of_an_optimizer_keep_their_ratio():
    module = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(
        [
            {"params": module[0].parameters(), "lr": 1e-9},
            {"params": module[1].parameters(), "lr": 1e-8},
        ]
    )
    model = compiled(module, optimizer)
    fit(model, ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=1.0))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-11, 1e-10])


def test_a_schedule_sets_the_rate_of_every_epoch():
    model = compiled(optimizer=lambda p: torch.optim.Adam(p, lr=torch.tensor(0.1)))
    history = fit(model, LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)))
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3], rel=1e-6)
    assert model.optimizer.param_groups[0]["lr"].item() == pytest.approx(0.1 / 3)


def test_a_scheduler_of_pytorch_beside_a_plateau_is_warned_of_and_beside_a_schedule_an_error():
    module = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model = compiled(module, optimizer)
    with pytest.warns(ConfigurationWarning, match=r"lr_scheduler both change the learning rate"):
        fit(model, ReduceLROnPlateau("loss"))
    with pytest.raises(ConfigurationError, match="control the learning rate"):
        fit(model, LearningRateScheduler(lambda epoch: 0.1))


class PrintLearningRateCallback(Callback):
    """As tutorials have it."""

    def on_epoch_end(self, epoch, logs=None):
        lr = self.model.optimizer.lr.numpy()
        print(f"\nLearning rate for epoch {epoch + 1} is {lr}")  # noqa: T201 - as tutorials have it


def test_a_callback_of_a_tutorial_prints_the_rate(capsys):
    fit(compiled(), PrintLearningRateCallback(), epochs=2)
    assert capsys.readouterr().out == (
        "\nLearning rate for epoch 1 is 0.009999999776482582"
        "\n\nLearning rate for epoch 2 is 0.009999999776482582\n"
    )


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".weights.h5", ".h5"])
def test_the_best_model_is_saved_and_can_be_loaded(tmp_path, suffix):
    model, weights = compiled(), Weights()
    path = tmp_path / f"models/best{suffix}"
    worsen = LearningRateScheduler(lambda epoch, lr: 0.1 if epoch < 2 else 3.0)
    checkpoint = ModelCheckpoint(path, "val_loss", save_best_only=True)
    history = fit(model, weights, worsen, checkpoint, epochs=5, validation_data=(X, Y))
    best = int(np.argmin(history.history["val_loss"]))
    assert best < 4
    other = compiled()
    other.load(path)
    assert same(other.get_weights(), weights.epochs[best])
    assert other.evaluate(X, Y, verbose=0) == pytest.approx(checkpoint.best, rel=1e-6)


def test_saving_by_batches_counts_them_over_the_epochs(tmp_path):
    fit(compiled(), ModelCheckpoint(tmp_path / "e{epoch}-b{batch}.pt", save_freq=5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e2-b1.pt", "e3-b2.pt"]


@pytest.mark.parametrize("name", ["model.keras", "model-{epoch}"])
def test_a_suffix_that_cannot_be_saved_is_an_error_before_the_first_batch(tmp_path, name):
    with pytest.raises(ConfigurationError, match="unknown file suffix"):
        fit(compiled(), ModelCheckpoint(tmp_path / name))


def test_a_misspelt_monitor_is_an_error_before_the_first_batch():
    heard = []
    watch = LambdaCallback(on_train_begin=heard.append)
    with pytest.raises(MetricNotFoundError, match="Did you mean 'val_mae'"):
        fit(
            compiled(metrics=["mae"]),
            watch,
            EarlyStopping("val_may", mode="min"),
            validation_split=0.5,
        )
    with pytest.raises(MetricNotFoundError, match="pass validation_data"):
        fit(compiled(), watch, EarlyStopping())
    assert heard == []


def test_training_can_be_stopped_after_a_batch_and_after_an_epoch():
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.stop_training = True

    weights = Weights()
    history = fit(compiled(), weights, Stop(), validation_data=(X, Y))
    assert len(weights.batches) == 3
    assert len(history.history["val_loss"]) == 1

    class StopLater(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    assert fit(compiled(), StopLater(), epochs=9).epoch == [0, 1]


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_epoch_begin", "on_epoch_end"])
def test_a_callback_may_predict_and_evaluate_without_disturbing_the_training(hook):
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))

    modes = []

    class Looks(Callback):
        def on_train_batch_begin(self, batch, logs=None):
            modes.append(self.model.module.training)

    def look(self, *_):
        self.model.predict(X, verbose=0)
        self.model.evaluate(X, Y, verbose=0)
        self.model(X)
        self.model.predict_on_batch(X)
        self.model.test_on_batch(X, Y)

    setattr(Looks, hook, look)
    plain, watched = compiled(net()), compiled(net())
    expected = fit(plain).history
    assert fit(watched, Looks()).history == expected
    assert same(plain.get_weights(), watched.get_weights())
    assert modes == [True] * 12


# ---- losses and gradients that are not finite ---------------------------------------------------


def poisoned(batch, value=math.nan):
    x = X.clone()
    x[batch * 6] = value
    return x


def linear():
    return nn.Linear(4, 1)


def normalized():
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))


@pytest.mark.parametrize(
    ("make", "bad"),
    [(linear, math.nan), (linear, math.inf), (linear, 1e30), (normalized, math.nan)],
)
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_a_bad_batch_stops_the_run_with_the_weights_from_before_it(make, bad, batch, optimizer):
    model, weights = compiled(make(), optimizer), Weights()
    start = model.get_weights()
    runs = []
    watch = LambdaCallback(on_train_end=lambda logs: runs.append(watch.run))
    history = fit(model, TerminateOnNaN(), weights, watch, x=poisoned(batch, bad))
    assert len(weights.batches) == batch + 1
    assert same(model.get_weights(), weights.batches[batch - 1] if batch else start)
    assert not math.isfinite(history.history["loss"][0])
    (decision,) = runs[0].journal.of("stopped")
    assert decision.cause.startswith(f"batch {batch} has an invalid loss: ")
    assert runs[0].stop_reason == decision.cause
    assert runs[0].trainable.active_guard is None
    assert not model.optimizer._optimizer_step_pre_hooks


def test_an_error_can_be_raised_instead():
    model = compiled()
    with pytest.raises(
        NonFiniteError, match=r"batch 1 has an invalid loss: nan; the update was not"
    ):
        fit(model, TerminateOnNaN(raise_error=True), x=poisoned(1))
    assert np.isfinite(model.get_weights()[0]).all()
    assert model.trainable.active_guard is None


class Steep(nn.Module):
    """Has an infinite gradient, and a finite output, where the first input is 0."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return ((x[:, :1] * self.scale) ** 2).sqrt() + x[:, 1:2] * self.scale


@pytest.mark.parametrize("look", [True, False])
def test_gradients_are_looked_at_on_request(look):
    x = X.clone()
    x[6] = 0.0
    model, weights = compiled(Steep()), Weights()
    fit(model, TerminateOnNaN(gradients=look), weights, x=x)
    assert np.isfinite(model.get_weights()[0]) == look
    if look:
        assert same(model.get_weights(), weights.batches[0])
        assert len(weights.batches) == 2


@pytest.mark.parametrize("parts", [1, 2])
def test_a_look_every_so_many_batches_still_rejects_every_update_from_the_bad_one_on(parts):
    model, weights = compiled(gradient_accumulation_steps=parts), Weights()
    fit(model, TerminateOnNaN(check_freq=3), weights, x=poisoned(2), epochs=1)
    assert len(weights.batches) == 4
    assert same(weights.batches[1], weights.batches[3])
    assert np.isfinite(model.get_weights()[0]).all()


def test_a_training_step_of_ones_own_is_guarded_by_its_gradients():
    class Own(Model):
        def train_step(self, batch):
            self.optimizer.zero_grad()
            loss = (self.forward(batch.x) - batch.y).square().mean()
            loss.backward()
            self.optimizer.step()
            return {"loss": loss}

    model = Own(nn.Linear(4, 1))
    model.compile("adam", "mse")
    weights = Weights()
    fit(model, TerminateOnNaN(), weights, x=poisoned(2))
    assert len(weights.batches) == 3
    assert same(model.get_weights(), weights.batches[1])


def test_after_a_guarded_fit_the_next_one_is_not_guarded():
    model = compiled()
    fit(model, TerminateOnNaN(), x=poisoned(0))
    fit(model, x=poisoned(0), epochs=1)
    assert np.isnan(model.get_weights()[0]).all()


def test_an_error_in_a_batch_leaves_nothing_behind():
    def fail(batch, logs):
        raise ZeroDivisionError

    model = compiled()
    with pytest.raises(ZeroDivisionError):
        fit(model, TerminateOnNaN(), LambdaCallback(on_train_batch_end=fail))
    assert model.trainable.active_guard is None
    assert not model.optimizer._optimizer_step_pre_hooks
    fit(model)


def test_a_callback_that_evaluates_does_not_undo_the_stop_of_another():
    class Stops(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    class Evaluates(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.evaluate(torch.zeros(4, 2), torch.zeros(4, 1), verbose=0)

    model = Model(torch.nn.Linear(2, 1))
    model.compile("sgd", "mse")
    used = [Stops(), Evaluates()]
    history = model.fit(torch.zeros(8, 2), torch.zeros(8, 1), epochs=9, callbacks=used, verbose=0)
    assert history.epoch == [0]


def test_a_misspelt_monitor_is_named_before_its_direction_is_asked_for():
    model = Model(torch.nn.Linear(2, 1))
    model.compile("sgd", "mse")
    with pytest.raises(MetricNotFoundError, match="Did you mean 'loss'"):
        model.fit(
            torch.zeros(8, 2),
            torch.zeros(8, 1),
            callbacks=[EarlyStopping(monitor="losss")],
            verbose=0,
        )
