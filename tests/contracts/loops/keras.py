"""Keras's own ``fit``, on its torch backend, with our callbacks as one."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from safetensors.numpy import load_file

from callboard.keras import Callbacks

SUFFIX = ".safetensors"
LACKS = frozenset()
SETS_THE_RATE = RESTORES = RESUMES = HEARS_OF_CTRL_C = True
KNOWS_NAN = True
ALSO_LOGS = ""


class Scripted(keras.Model):
    """A model whose steps log what a script says, and move its weight."""

    def __init__(self, script):
        super().__init__()
        self.script = script
        self.weight = self.add_weight(shape=(1,), initializer="zeros", name="weight")

    def call(self, x):
        return x * self.weight

    def train_step(self, data):
        value = self.script.train()
        self.weight.assign_sub([float(self.optimizer.learning_rate)])
        self._loss_tracker.update_state(value)
        return {"loss": value}

    def test_step(self, data):
        value = self.script.validate()
        self._loss_tracker.update_state(value)
        return {"loss": value}


def given(callbacks):
    return Callbacks(callbacks)


def train(group, script):
    model = Scripted(script)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x = np.ones((script.batches, 1), "float32")
    with group:
        model.fit(
            x, x, batch_size=1, epochs=script.epochs, validation_data=(x[:1], x[:1]),
            callbacks=[group], verbose=0,
        )  # fmt: skip
    group.run.rate_in_host = float(model.optimizer.learning_rate)
    return group.run


def trained_for(run):
    (weight,) = run.trainable.weights().values()
    return float(weight.item())


def loaded(path):
    model = Scripted(None)
    model.set_weights(list(load_file(path).values()))
    return float(model.weight.numpy().item())
