"""Every callback of ours in the list of Keras's fit, evaluate and predict, beside one of Keras."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import callboard
from callboard import callbacks

MADE = {
    "BackupAndRestore": lambda folder: callbacks.BackupAndRestore(folder / "backup"),
    "CSVLogger": lambda folder: callbacks.CSVLogger(folder / "log.csv"),
    "EarlyStopping": lambda _: callbacks.EarlyStopping(restore_best_weights=True),
    "History": lambda _: callbacks.History(),
    "JSONLLogger": lambda folder: callbacks.JSONLLogger(folder / "log.jsonl"),
    "LambdaCallback": lambda _: callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    "LearningRateScheduler": lambda _: callbacks.LearningRateScheduler(lambda epoch: 0.01),
    "ModelCheckpoint": lambda folder: callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
    "OrbaxCheckpoint": lambda folder: callbacks.OrbaxCheckpoint(folder / "orbax"),
    "ProgbarLogger": lambda _: callbacks.ProgbarLogger(),
    "ReduceLROnPlateau": lambda _: callbacks.ReduceLROnPlateau(),
    "RemoteMonitor": lambda _: callbacks.RemoteMonitor("http://localhost:9", retries=0),
    "SwapEMAWeights": lambda _: callbacks.SwapEMAWeights(swap_on_epoch=True),
    "TensorBoard": lambda folder: callbacks.TensorBoard(folder / "logs", histogram_freq=1),
    "TerminateOnNaN": lambda _: callbacks.TerminateOnNaN(),
}
BASES = {"Callback", "CallbackList", "MonitorCallback", "Tracker"}
# In a process of their own: what comet_ml does to Keras when it is imported stays done.
TRACKERS = {
    "AimLogger": "AimLogger(repo=folder / 'aim')",
    "CometLogger": "CometLogger(online=False, options={'offline_directory': str(folder)})",
    "MLflowLogger": "MLflowLogger(tracking_uri=f'sqlite:///{folder}/mlflow.db')",
    "WandbLogger": "WandbLogger(options={'mode': 'offline', 'dir': str(folder)})",
}
TRACKED = f"""
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import keras, numpy
from callboard.callbacks import *

folder = Path(sys.argv[1])
trackers = [{", ".join(TRACKERS.values())}]
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
model.compile("sgd", "mse")
x, y = numpy.ones((32, 4)), numpy.ones((32, 2))
history = model.fit(x, y, epochs=2, verbose=0, callbacks=trackers)
assert all(tracker.run.history.epoch == [0, 1] for tracker in trackers)
model.evaluate(x, y, verbose=0, callbacks=trackers)
model.predict(x, verbose=0, callbacks=trackers)
assert history.epoch == [0, 1]
"""


def test_the_list_of_them_is_complete():
    assert MADE.keys() | TRACKERS.keys() | BASES == set(callbacks.__all__)


@pytest.mark.filterwarnings("ignore:RemoteMonitor")
@pytest.mark.parametrize("name", MADE)
def test_in_a_plain_list(name, make_model, data, tmp_path):
    model = make_model(optimizer=keras.optimizers.SGD(use_ema=True))
    epochs = []
    theirs = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    ours = MADE[name](tmp_path)
    model.fit(*data, epochs=2, validation_data=data, verbose=0, callbacks=[ours, theirs])
    weights = [np.array(value) for value in model.get_weights()]
    assert epochs == [0, 1]
    assert ours.run.history.epoch == [0, 1]
    loss, _ = model.evaluate(*data, verbose=0, callbacks=[ours, theirs])
    outputs = model.predict(data[0], verbose=0, callbacks=[ours, theirs])
    assert np.isfinite(loss)
    assert outputs.shape == (48, 2)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="trackers touch no backend")
def test_trackers_in_a_plain_list(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
    environment["PYTHONPATH"] = str(Path(callboard.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", TRACKED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
