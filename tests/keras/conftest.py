"""Tests of callbacks in Keras; each backend runs all of them (KERAS_BACKEND, see the Makefile)."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras")

from callboard import Callback

RNG = np.random.default_rng(0)
X = RNG.random((48, 4), "float32")
Y = RNG.random((48, 2), "float32")


def dense_model(*, optimizer="sgd", metrics=("mae",), **compiled):
    """A small model, the same every time."""
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile(optimizer, "mse", metrics=list(metrics), **compiled)
    return model


class Script(keras.callbacks.Callback):
    """A callback of Keras that puts given metrics into the logs of every epoch."""

    def __init__(self, **metrics):
        super().__init__()
        self.metrics = metrics

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: values[epoch] for name, values in self.metrics.items()})


class Recorder(Callback):
    """Notes the names of hooks, with the epoch or batch, and the names in the logs."""

    def __init__(self, hooks):
        self.calls = []
        for hook in hooks:
            setattr(self, hook, self._noting(hook))

    def _noting(self, hook):
        def note(*arguments):
            *index, logs = arguments or (None,)
            names = sorted(logs) if hasattr(logs, "keys") else repr(logs)
            self.calls.append((hook, *index, names))

        return note


@pytest.fixture
def model():
    return dense_model()


@pytest.fixture
def data():
    return X, Y


@pytest.fixture
def make_model():
    return dense_model


@pytest.fixture
def script():
    return Script


@pytest.fixture
def recorder():
    return Recorder


@pytest.fixture(autouse=True)
def fresh_names():
    """Names of layers begin to count anew, as in a process of its own."""
    keras.utils.clear_session(free_memory=False)
