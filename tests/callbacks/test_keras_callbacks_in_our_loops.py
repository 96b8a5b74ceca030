"""Callbacks written for Keras, and Keras's own, in our fit and around a loop of one's own."""

import os
import warnings

import numpy as np
import pytest

from callboard import ConfigurationError, Run, UnsupportedError
from callboard import callbacks as cb
from callboard.testing import assert_exact_resume

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")
from callboard.torch import Model  # noqa: E402 - only where torch is

X = torch.linspace(-1, 1, 24).reshape(12, 2)
Y = X.sum(1, keepdim=True)
Base = keras.callbacks.Callback


def made(rate=0.1):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    model = Model(net)
    model.compile(torch.optim.SGD(net.parameters(), lr=rate), "mse", metrics=["mae"])
    return model


def fit(model, *callbacks, epochs=4, **options):
    data = {"validation_data": (X, Y), "shuffle": False, "batch_size": 4, "verbose": 0}
    return model.fit(X, Y, epochs=epochs, callbacks=list(callbacks), **data | options)


def run(*callbacks, epochs=4):
    """The same training by hand."""
    model = made()
    net, optimizer = model.module, model.optimizer.wrapped
    with Run(net, optimizer, epochs=epochs, callbacks=callbacks, verbose=0) as run:
        for _ in run.epochs():
            for batch in run.train(range(3)):
                part = slice(4 * batch, 4 * batch + 4)
                loss = torch.nn.functional.mse_loss(net(X[part]), Y[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log(loss=loss)
            for _ in run.validate([X]):
                run.log(loss=torch.nn.functional.mse_loss(net(X), Y))
    return run.history


def in_fit(*callbacks, epochs=4):
    return fit(made(), *callbacks, epochs=epochs)


LOOPS = pytest.mark.parametrize("train", [in_fit, run])


class StopAtLoss(Base):
    """As in Keras's guide: stops at the lowest loss and puts the best weights back."""

    def __init__(self, patience=0):
        super().__init__()
        self.patience = patience
        self.best_weights = None

    def on_train_begin(self, logs=None):
        self.wait = 0
        self.stopped_epoch = 0
        self.best = np.inf

    def on_epoch_end(self, epoch, logs=None):
        current = -epoch if epoch < 2 else epoch
        if np.less(current, self.best):
            self.best = current
            self.wait = 0
            self.best_weights = self.model.get_weights()
        else:
            self.wait += 1
            if self.wait >= self.patience:
                self.stopped_epoch = epoch
                self.model.stop_training = True
                self.model.set_weights(self.best_weights)


class CustomSchedule(Base):
    """As in Keras's guide: sets the rate through the optimizer."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def on_epoch_begin(self, epoch, logs=None):
        if not hasattr(self.model.optimizer, "learning_rate"):
            raise ValueError('Optimizer must have a "learning_rate" attribute.')
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self.model.optimizer.learning_rate = self.schedule(epoch, float(rate))

    def on_epoch_end(self, epoch, logs=None):
        logs["rate"] = float(self.model.optimizer.learning_rate)


class WarmUp(Base):
    """Changes the rate at every batch, and counts from params."""

    def on_train_begin(self, logs=None):
        self.total = self.params["epochs"] * self.params["steps"]
        self.done = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.done += 1
        self.model.optimizer.learning_rate.assign(0.1 * self.done / self.total)

    def on_epoch_end(self, epoch, logs=None):
        logs["rate"] = float(self.model.optimizer.learning_rate.numpy())


class BatchLosses(Base):
    def on_train_begin(self, logs=None):
        self.losses = []

    def on_batch_end(self, batch, logs=None):
        self.losses.append((batch, logs.get("loss")))


@LOOPS
def test_stopping_and_weights(train):
    stop = StopAtLoss()
    history = train(stop, epochs=9)
    assert history.epoch == [0, 1, 2]
    assert (stop.stopped_epoch, stop.best) == (2, -1)
    assert all(map(np.array_equal, stop.model.get_weights(), stop.best_weights))


@LOOPS
def test_rates(train):
    history = train(CustomSchedule(lambda epoch, rate: rate * 0.5 if epoch else rate))
    np.testing.assert_allclose(history.history["rate"], [0.1, 0.05, 0.025, 0.0125], rtol=1e-6)


def test_rates_of_batches_and_params():
    history = fit(made(), WarmUp(), epochs=2)
    np.testing.assert_allclose(history.history["rate"], [0.05, 0.1], rtol=1e-6)


@LOOPS
def test_the_older_names_of_hooks(train):
    losses = BatchLosses()
    train(losses, epochs=1)
    assert [batch for batch, _ in losses.losses] == [0, 1, 2]
    assert all(isinstance(loss, float) for _, loss in losses.losses)


@LOOPS
def test_early_stopping_of_keras(train):
    theirs = keras.callbacks.EarlyStopping(
        min_delta=10.0, patience=2, restore_best_weights=True, start_from_epoch=1
    )
    history = train(theirs, epochs=9)
    assert (theirs.stopped_epoch, theirs.best_epoch, len(history.epoch)) == (3, 1, 4)
    assert all(map(np.array_equal, theirs.model.get_weights(), theirs.best_weights))


@LOOPS
def test_learning_rate_scheduler_of_keras(train):
    history = train(keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2))
    np.testing.assert_allclose(history.history["learning_rate"], 0.1 / 2.0 ** np.arange(1, 5))


@LOOPS
def test_reduce_lr_on_plateau_of_keras(train):
    theirs = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=10.0, factor=0.5)
    history = train(theirs)
    expected = [0.1, 0.1, 0.05, 0.025]
    np.testing.assert_allclose(history.history["learning_rate"], expected, rtol=1e-6)


@LOOPS
def test_csv_lambda_history_and_nan_of_keras(train, tmp_path):
    heard = []
    theirs = keras.callbacks.History()
    ours = train(
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append(epoch)),
        keras.callbacks.TerminateOnNaN(),
        theirs,
    )
    assert heard == [0, 1, 2, 3]
    assert theirs.history == ours.history
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 5


def test_model_checkpoint_of_keras_saves_weights(tmp_path):
    path = str(tmp_path / "best.weights.h5")
    model = made()
    fit(model, keras.callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True))
    other = made()
    other.load_weights(path)
    assert all(map(np.array_equal, other.get_weights(), model.get_weights()))


def test_auto_modes_of_keras_are_known_from_our_metrics_before_the_first_epoch():
    theirs = keras.callbacks.EarlyStopping("val_mae", patience=1, min_delta=10.0)
    assert len(fit(made(), theirs).epoch) == 2
    unknown = keras.callbacks.EarlyStopping("val_thing")
    with pytest.raises(ConfigurationError, match="cannot tell whether a lower or a higher"):
        fit(made(), unknown)


@pytest.mark.parametrize(
    "theirs",
    [
        keras.callbacks.BackupAndRestore,
        lambda folder: keras.callbacks.ModelCheckpoint(f"{folder}/model.keras"),
        lambda folder: keras.callbacks.SwapEMAWeights(),
    ],
)
@LOOPS
def test_what_needs_a_keras_model_says_so_before_the_first_batch(tmp_path, train, theirs):
    def epoch_begins(epoch, logs):
        pytest.fail("an epoch began")

    with pytest.raises(UnsupportedError, match=r"needs a Keras model.*use callboard\.callbacks\."):
        train(theirs(tmp_path), cb.LambdaCallback(on_epoch_begin=epoch_begins))


@pytest.mark.parametrize("min_delta", [0.0, 0.001])
def test_callbacks_of_keras_go_on_exactly_where_they_stood(tmp_path, min_delta):
    def train(folder):
        model = made()
        stopping = keras.callbacks.EarlyStopping(
            patience=2, min_delta=min_delta, restore_best_weights=True
        )
        plateau = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=0.05, factor=0.5)
        backup = cb.BackupAndRestore(folder / "backup", save_freq=1)
        history = fit(model, stopping, plateau, StopAtLoss(patience=4), backup, epochs=6)
        return {
            "weights": model.get_weights(),
            "history": history.history,
            "wait": [stopping.wait, plateau.wait],
            "best": [stopping.best, plateau.best, stopping.min_delta, plateau.min_delta],
        }

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_exact_resume(train, kills=[2, 7, "epoch end"], directory=tmp_path)


def test_best_weights_of_a_large_model_are_saved_too(tmp_path):
    class KeepBest(Base):
        best_weights = None

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                self.best_weights = [np.full((400, 400), 7.0)]

    def train(folder):
        keep = KeepBest()
        fit(made(), keep, cb.BackupAndRestore(folder / "backup", save_freq=1), epochs=3)
        return {"kept": keep.best_weights}

    assert_exact_resume(train, kills=[7], directory=tmp_path)
