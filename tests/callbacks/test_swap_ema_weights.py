"""SwapEMAWeights on torch and in Keras's own fit."""

import os

import numpy as np
import pytest

from callboard import Callback, ConfigurationError, ConfigurationWarning, Run, UnsupportedError
from callboard import callbacks as cb
from callboard.callbacks import SwapEMAWeights
from callboard.testing import ScriptedRun, assert_exact_resume

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
from callboard.torch import Model  # noqa: E402 - only where torch is

X = torch.linspace(-1, 1, 24).reshape(12, 2)
Y = X.sum(1, keepdim=True)
MOMENTUM = 0.75


def made(rate=0.1, dtype=torch.float32, optimizer="SGD", **options):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    model = Model(net.to(dtype))
    model.compile(getattr(torch.optim, optimizer)(net.parameters(), lr=rate), "mse", **options)
    return model


def fit(model, *callbacks, epochs=3, **options):
    validation = (X, Y)
    data = {"validation_data": validation, "shuffle": False, "batch_size": 4, "verbose": 0}
    return model.fit(X, Y, epochs=epochs, callbacks=callbacks, **data | options)


def values(model):
    return np.concatenate([p.detach().double().numpy().ravel() for p in model.module.parameters()])


class Watch(Callback):
    """Notes the weights at some hooks."""

    order = -10

    def __init__(self):
        self.seen = {}
        for hook in ("on_train_batch_end", "on_epoch_begin", "on_epoch_end", "on_test_batch_end"):
            setattr(self, hook, self.noting(hook))
        self.on_train_end = self.noting("on_train_end")

    def noting(self, hook):
        def note(*_):
            weights = {n: np.array(w) for n, w in self.run.trainable.weights().items()}
            flat = np.concatenate([w.ravel() for n, w in weights.items()])
            self.seen.setdefault(hook, []).append(flat)

        return note

    def state_dict(self):
        return {}


def averages_of(weights):
    """The averages after each of these updates."""
    found = [weights[0]]
    for weight in weights[1:]:
        found.append(MOMENTUM * found[-1] + (1 - MOMENTUM) * weight)
    return found


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_which_weights_are_there_when(swap_on_epoch):
    plain, swapped = Watch(), Watch()
    fit(made(), plain)
    model = made()
    fit(model, swapped, SwapEMAWeights(swap_on_epoch, momentum=MOMENTUM))
    own = plain.seen["on_train_batch_end"]
    expected = averages_of(own)
    close = {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(swapped.seen["on_train_batch_end"], own, rtol=0, atol=0)
    np.testing.assert_allclose(swapped.seen["on_epoch_begin"], plain.seen["on_epoch_begin"])
    np.testing.assert_allclose(swapped.seen["on_test_batch_end"][::3], expected[2::3], **close)
    ends = expected[2::3] if swap_on_epoch else own[2::3]
    np.testing.assert_allclose(swapped.seen["on_epoch_end"], ends, **close)
    np.testing.assert_allclose(values(model), expected[-1], **close)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_averages_are_those_of_keras():
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=MOMENTUM)
    net.compile(optimizer, "mse")
    x, y = X.numpy(), Y.numpy() * 3
    theirs = net.fit(
        x,
        y,
        epochs=3,
        batch_size=4,
        shuffle=False,
        verbose=0,
        validation_data=(x, y),
        callbacks=[keras.callbacks.SwapEMAWeights()],
    )
    layer = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    model = Model(layer)
    model.compile(torch.optim.SGD(layer.parameters(), lr=0.1), "mse")
    ours = model.fit(
        x,
        y,
        epochs=3,
        batch_size=4,
        shuffle=False,
        verbose=0,
        validation_data=(x, y),
        callbacks=[SwapEMAWeights(momentum=MOMENTUM)],
    )
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(ours.history[name], theirs.history[name], rtol=1e-5)
    kernel, bias = net.get_weights()
    np.testing.assert_allclose(layer.weight.detach().numpy().T, kernel, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.detach().numpy(), bias, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_the_end_has_the_averages_also_after_an_early_stop(swap_on_epoch):
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    whole, stopped = made(), made()
    fit(whole, SwapEMAWeights(swap_on_epoch, momentum=MOMENTUM), epochs=2)
    fit(stopped, SwapEMAWeights(swap_on_epoch, momentum=MOMENTUM), Stop(), epochs=9)
    np.testing.assert_array_equal(values(stopped), values(whole))
    plain = made()
    fit(plain, epochs=2)
    assert not np.allclose(values(plain), values(whole))


def test_an_error_in_validation_leaves_the_own_weights():
    class Fail(Callback):
        def on_test_batch_end(self, batch, logs=None):
            if self.run.progress.epoch == 1:
                raise ValueError("in validation")

    plain, model = made(), made()
    fit(plain, epochs=2)
    with pytest.raises(ValueError, match="in validation"):
        fit(model, Fail(), SwapEMAWeights(momentum=MOMENTUM))
    np.testing.assert_array_equal(values(model), values(plain))


def test_evaluate_and_predict_use_the_averages_of_a_fit_that_failed_and_leave_no_trace():
    class Fail(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise ValueError("x")

    whole, model = made(), made()
    swap = SwapEMAWeights(momentum=MOMENTUM)
    fit(whole, SwapEMAWeights(momentum=MOMENTUM), epochs=2)
    with pytest.raises(ValueError, match="x"):
        fit(model, swap, Fail())
    own = values(model)
    outputs = model.predict(X, verbose=0, callbacks=[swap])
    np.testing.assert_allclose(outputs, whole.predict(X, verbose=0), rtol=1e-6)
    loss = model.evaluate(X, Y, verbose=0, callbacks=[swap])
    assert loss == pytest.approx(whole.evaluate(X, Y, verbose=0))
    np.testing.assert_array_equal(values(model), own)


def test_before_the_first_update_there_is_nothing_to_swap():
    model = made()
    own = values(model)
    model.evaluate(X, Y, verbose=0, callbacks=[SwapEMAWeights(momentum=MOMENTUM)])
    np.testing.assert_array_equal(values(model), own)


def test_model_checkpoint_saves_the_averages_whatever_the_order_of_the_list(tmp_path):
    model, path = made(), tmp_path / "w.safetensors"
    saves = cb.ModelCheckpoint(path)
    fit(model, saves, SwapEMAWeights(swap_on_epoch=True, momentum=MOMENTUM))
    saved = made()
    saved.load_weights(path)
    np.testing.assert_array_equal(values(saved), values(model))


def test_early_stopping_restores_averages_and_has_the_last_word():
    model = made()
    stopping = cb.EarlyStopping("val_loss", mode="max", restore_best_weights=True, patience=9)
    fit(model, stopping, SwapEMAWeights(swap_on_epoch=True, momentum=MOMENTUM))
    assert stopping.best_epoch == 0
    first = made()
    fit(first, SwapEMAWeights(momentum=MOMENTUM), epochs=1)
    np.testing.assert_array_equal(values(model), values(first))


@pytest.mark.parametrize(
    "other",
    [
        lambda folder: cb.EarlyStopping(restore_best_weights=True),
        lambda folder: cb.ModelCheckpoint(folder / "w.pt", save_best_only=True),
    ],
)
def test_keeping_weights_that_were_not_validated_is_a_warning(tmp_path, other):
    with pytest.warns(ConfigurationWarning, match="swap_on_epoch=True"):
        fit(made(), other(tmp_path), SwapEMAWeights(momentum=MOMENTUM))


def test_averages_of_half_precision_are_kept_in_full():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    net = torch.nn.ParameterList([weight])
    optimizer = torch.optim.SGD([weight], lr=0.125)
    with Run(net, optimizer, callbacks=[SwapEMAWeights(momentum=0.999)], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(500)):
                weight.grad = torch.full_like(weight, -1.0 if weight < 2 else 0.0)
                optimizer.step()
                run.log(loss=0.0)
            for _ in run.validate([0]):
                run.log(loss=weight.item())
    expected = 1.125
    own = 1.125
    for _ in range(499):
        own = min(own + 0.125, 2.0)
        expected = 0.999 * expected + 0.001 * own
    assert weight.item() == pytest.approx(expected, abs=2**-7)
    assert run.history.history["val_loss"][0] == pytest.approx(expected, abs=2**-7)


def test_in_a_loop_of_ones_own_every_update_counts_and_only_updates():
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    own = []
    swap = SwapEMAWeights(momentum=MOMENTUM)
    with Run(torch.nn.ParameterList([weight]), optimizer, callbacks=[swap], verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train(range(6)):
                for _ in range(batch % 3):  # 0, 1 or 2 updates
                    weight.grad = torch.full_like(weight, -float(batch))
                    optimizer.step()
                    own.append(weight.item())
                run.log(loss=0.0)
    assert weight.item() == pytest.approx(averages_of(own)[-1])


def test_averaged_model_of_the_users_own():
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 1)
    averaged = torch.optim.swa_utils.AveragedModel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    swap = SwapEMAWeights(averages=averaged)
    with Run(net, optimizer, epochs=2, callbacks=[swap], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(3)):
                loss = ((net(X) - Y) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                averaged.update_parameters(net)
                run.log(loss=loss)
            for _ in run.validate([0]):
                losses.append(((net(X) - Y) ** 2).mean().item())
                run.log(loss=losses[-1])
                assert torch.equal(net.weight, averaged.module.weight)
            assert not torch.equal(net.weight, averaged.module.weight)
    assert torch.equal(net.weight, averaged.module.weight)
    other = torch.optim.swa_utils.AveragedModel(torch.nn.Sequential(net))
    with pytest.raises(ConfigurationError, match="of another module"):
        fit(made(), SwapEMAWeights(averages=other))
    with pytest.raises(ConfigurationError, match="AveragedModel"):
        fit(made(), SwapEMAWeights(averages=[1.0]))


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_a_run_that_is_killed_goes_on_exactly(tmp_path, swap_on_epoch):
    def train(folder):
        model = made(0.05, optimizer="Adam")
        swap = SwapEMAWeights(swap_on_epoch, momentum=MOMENTUM)
        history = fit(model, cb.BackupAndRestore(folder / "backup", save_freq=1), swap)
        return {"weights": values(model), "history": history.history}

    kills = [1, 5, "epoch end", "validation", "train end"]
    assert_exact_resume(train, kills=kills, directory=tmp_path)


def test_backups_at_the_ends_of_epochs_go_on_exactly(tmp_path):
    def train(folder):
        model = made(0.05, optimizer="Adam")
        swap = SwapEMAWeights(swap_on_epoch=True, momentum=MOMENTUM)
        history = fit(model, cb.BackupAndRestore(folder / "backup"), swap)
        return {"weights": values(model), "history": history.history}

    assert_exact_resume(train, kills=[4, 5, 8], directory=tmp_path)


def test_a_rejected_update_is_not_averaged():
    model = made(rate=float("3e38"))
    swap = SwapEMAWeights(momentum=MOMENTUM)
    fit(model, cb.TerminateOnNaN(), swap)
    assert swap._averages.state_dict()["averages"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.0}, "below 1"),
        ({"momentum": "0.9"}, "momentum must be a finite number"),
        ({"momentum": -0.1}, "0 or more"),
        ({"swap_on_epoch": "no"}, "True or False"),
        ({"momentum": 0.9, "averages": object()}, "not both"),
    ],
)
def test_impossible_arguments_are_errors_at_once(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SwapEMAWeights(**options)


def test_an_optimizer_without_averages_is_an_error_before_the_first_batch():
    with pytest.raises(UnsupportedError, match=r"momentum=0\.99"):
        fit(made(), SwapEMAWeights())
    with pytest.raises(UnsupportedError, match="no averages"):
        ScriptedRun([0.5]).play(SwapEMAWeights(momentum=0.9))
    with (
        pytest.raises(UnsupportedError, match="needs the model"),
        Run(callbacks=[SwapEMAWeights(momentum=0.9)], verbose=0),
    ):
        pytest.fail("the run began")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
class TestInKerasFit:
    def made(self, **options):
        keras = pytest.importorskip("keras")
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1, ema_momentum=MOMENTUM, **options), "mse")
        return model

    def fit(self, model, *callbacks, epochs=3):
        x, y = X.numpy(), Y.numpy()
        data = {"shuffle": False, "batch_size": 4, "verbose": 0, "validation_data": (x, y)}
        return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **data)

    def weights(self, model):
        return np.concatenate([w.ravel() for w in model.get_weights()])

    @pytest.mark.parametrize("swap_on_epoch", [False, True])
    def test_it_does_what_keras_does(self, swap_on_epoch):
        keras = pytest.importorskip("keras")
        theirs, ours = self.made(use_ema=True), self.made(use_ema=True)
        expected = self.fit(theirs, keras.callbacks.SwapEMAWeights(swap_on_epoch))
        history = self.fit(ours, SwapEMAWeights(swap_on_epoch))
        for name, values_of_keras in expected.history.items():
            assert history.history[name] == pytest.approx(values_of_keras)
        np.testing.assert_allclose(self.weights(ours), self.weights(theirs), rtol=1e-6)

    def test_an_early_stop_ends_with_the_averages_and_not_as_in_keras(self):
        class Stop(Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.stop_training = epoch == 1

        whole, stopped = self.made(use_ema=True), self.made(use_ema=True)
        self.fit(whole, SwapEMAWeights(), epochs=2)
        self.fit(stopped, SwapEMAWeights(swap_on_epoch=True), Stop(), epochs=9)
        np.testing.assert_allclose(self.weights(stopped), self.weights(whole), rtol=1e-6)

    def test_without_use_ema_it_is_an_error_before_the_first_batch(self):
        with pytest.raises(UnsupportedError, match="use_ema=True"):
            self.fit(self.made(), SwapEMAWeights())
