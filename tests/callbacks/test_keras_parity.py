"""The same decisions as the installed Keras, where Keras is right (docs/differences.md)."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callboard import callbacks
from callboard.testing import ScriptedRun

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

# Multiples of 1/64 below 16 are exact in float32, and so are their sums with such a min_delta.
VALUES = st.lists(st.integers(-1024, 1024).map(lambda n: n / 64), min_size=1, max_size=25)
DELTAS = st.integers(0, 64).map(lambda n: n / 64)
MODES = st.sampled_from(["min", "max"])


def keras_stub(rate=1.0):
    """What Keras's callbacks use of a model."""
    optimizer = SimpleNamespace(learning_rate=rate)
    model = SimpleNamespace(stop_training=False, optimizer=optimizer, restored=None, epoch=0)
    model.get_weights = lambda: [model.epoch]
    model.set_weights = lambda weights: setattr(model, "restored", weights[0])
    return model


def keras_play(callback, values, monitor="val_loss"):
    """Drive a Keras callback as fit does; return the model and what each epoch decided."""
    model = keras_stub()
    callback.set_model(model)
    callback.on_train_begin({})
    rates = []
    for epoch, value in enumerate(values):
        model.epoch = epoch
        callback.on_epoch_begin(epoch, {})
        callback.on_epoch_end(epoch, {monitor: value})
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    callback.on_train_end({})
    return model, rates


@settings(max_examples=150)
@given(
    values=VALUES,
    patience=st.integers(0, 6),
    min_delta=DELTAS,
    mode=MODES,
    start_from_epoch=st.integers(0, 4),
    restore_best_weights=st.booleans(),
)
def test_early_stopping_decides_as_keras(values, **options):
    theirs = keras.callbacks.EarlyStopping(**options)
    model, rates = keras_play(theirs, values)
    ours = callbacks.EarlyStopping(**options)
    played = ScriptedRun(values).play(ours)
    assert len(played.run.history.epoch) == len(rates)
    assert (played.stopped_epoch is not None) is model.stop_training
    assert ours.stopped_epoch == theirs.stopped_epoch
    assert ours.best_epoch == theirs.best_epoch
    assert ours.best == theirs.best
    assert ours.wait == theirs.wait
    if model.restored is not None:
        assert played.model.weight == model.restored


@settings(max_examples=150)
@given(
    values=VALUES,
    patience=st.integers(0, 4),
    min_delta=DELTAS,
    mode=MODES,
    factor=st.sampled_from([0.5, 0.25]),
    min_lr=st.sampled_from([0.0, 0.125, 2.0]),
)
def test_reduce_lr_on_plateau_decides_as_keras(values, **options):
    theirs = keras.callbacks.ReduceLROnPlateau(**options)
    _, rates = keras_play(theirs, values)
    ours = callbacks.ReduceLROnPlateau(**options)
    played = ScriptedRun(values, learning_rate=1.0).play(ours)
    assert [*played.history["learning_rate"][1:], played.learning_rate] == rates
    assert ours.best == theirs.best
    assert ours.wait == theirs.wait


@settings(max_examples=60)
@given(values=VALUES, patience=st.integers(1, 3), cooldown=st.integers(1, 4))
def test_a_cooldown_of_one_less_is_a_cooldown_of_keras(values, patience, cooldown):
    options = {"patience": patience, "factor": 0.5, "min_delta": 0}
    theirs = keras.callbacks.ReduceLROnPlateau(cooldown=cooldown, **options)
    _, rates = keras_play(theirs, values)
    ours = callbacks.ReduceLROnPlateau(cooldown=cooldown - 1, **options)
    played = ScriptedRun(values, learning_rate=1.0).play(ours)
    assert [*played.history["learning_rate"][1:], played.learning_rate] == rates


# Keras 3.15 hands its tensors to NumPy in a way that NumPy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_golden_order_is_what_keras_does():
    lines = []

    class Trace(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            for hook in dir(keras.callbacks.Callback):
                if hook.startswith("on_") and hook not in {"on_batch_begin", "on_batch_end"}:
                    setattr(self, hook, self.recording(hook))

        @staticmethod
        def recording(hook):
            def record(*given, logs=None):
                *index, names = given if logs is None else (*given, logs)
                lines.append(" ".join([hook, *map(str, index), *sorted({*names} - {"outputs"})]))

            return record

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer="sgd")
    x, y = np.zeros((4, 2), "float32"), np.zeros((4, 1), "float32")
    golden = Path(__file__).parent.parent / "golden"
    for name, method, data, options in (
        ("fit", model.fit, (x, y), {"epochs": 2, "validation_data": (x[:2], y[:2])}),
        ("evaluate", model.evaluate, (x, y), {}),
        ("predict", model.predict, (x,), {}),
    ):
        lines.clear()
        method(*data, batch_size=2, verbose=0, callbacks=[Trace()], **options)
        assert lines == (golden / f"keras_{name}.txt").read_text().splitlines()
