"""Keras's own ``fit`` with Keras's eight callbacks and with ours, on one of its backends.

The tutorial's network on MNIST, batch 32: one epoch of 19,200 images and a validation on 3,200.
"""

import argparse
import contextlib
import io
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
from measure import interleaved, machine, show

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--backend", default="torch", choices=("tensorflow", "jax", "torch"))
parser.add_argument("--repetitions", type=int, default=5)
options = parser.parse_args()
os.environ["KERAS_BACKEND"] = options.backend
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import callboard
import callboard.callbacks

DEMO_DATA = Path(callboard.__file__).parent / "demo" / "mnist.npz"


def mnist(train=19_200, validation=3_200):
    with np.load(DEMO_DATA) as file:
        parts = []
        for name, count in (("train", train), ("test", validation)):
            rows = np.arange(count) % len(file[f"x_{name}"])
            parts.append(file[f"x_{name}"][rows].astype(np.float32) / 255)
            parts.append(file[f"y_{name}"][rows].astype(np.int64))
    return parts


def by_keras(x, y, x_val, y_val, eight=None):
    """Return a function that trains one more epoch."""
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    layers = [keras.layers.Flatten(), dense(128, activation="relu"), keras.layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((28, 28)), *layers, dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    done = 0

    def epoch():
        nonlocal done
        validation = (x_val, y_val)
        used = eight() if eight else []
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(
                x,
                y,
                batch_size=32,
                validation_data=validation,
                initial_epoch=done,
                epochs=done + 1,
                callbacks=used,
                verbose=2 if eight else 0,
            )
        done += 1

    return epoch


def eight(module, folder, **tensorboard):
    """Return the eight callbacks of the tutorial; the eighth is the progress that fit shows."""
    return [
        module.ModelCheckpoint(folder / "best.keras", save_best_only=True),
        module.EarlyStopping(patience=5, restore_best_weights=True),
        module.ReduceLROnPlateau(factor=0.5, patience=3, min_lr=1e-7),
        module.LearningRateScheduler(lambda _epoch, lr: lr),
        module.TensorBoard(folder / "logs", histogram_freq=1, **tensorboard),
        module.CSVLogger(folder / "log.csv", append=True),
        module.TerminateOnNaN(),
    ]


def main():
    warnings.simplefilter("ignore")
    data = mnist()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        contenders = {
            "Keras's eight callbacks": by_keras(
                *data, eight=lambda: eight(keras.callbacks, here / "theirs", write_graph=False)
            ),
            "ours": by_keras(*data, eight=lambda: eight(callboard.callbacks, here / "ours")),
            "ours, without activations": by_keras(
                *data, eight=lambda: eight(callboard.callbacks, here / "less", activations=False)
            ),
            "no callbacks": by_keras(*data),
        }
        for name in ("theirs", "ours", "less"):
            (here / name).mkdir()
        seconds = interleaved(contenders, options.repetitions)
    title = f"Keras {keras.__version__} on {options.backend}, eight callbacks; {machine()}"
    show(title, seconds, "Keras's eight callbacks")


if __name__ == "__main__":
    main()
