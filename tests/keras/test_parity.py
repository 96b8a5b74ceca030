"""Our callbacks and Keras's own decide alike in Keras's fit, where Keras is right.

What differs, and why, is in docs/differences.md.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from callboard import callbacks as ours
from callboard.keras import Callbacks

theirs = keras.callbacks
# Multiples of 1/64 are exact in float32, in which Keras compares.
STREAMS = st.lists(st.integers(-256, 256).map(lambda n: n / 64), min_size=1, max_size=9)
SETTINGS = settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])


def played(model, data, script, values, callbacks, monitor="val_loss"):
    """Train an epoch for each value, which its callbacks see; return Keras's history."""
    model.optimizer.learning_rate = 0.5
    x, y = data
    scripted = script(**{monitor: values})
    options = {"batch_size": 48, "epochs": len(values), "verbose": 0, "shuffle": False}
    return model.fit(x, y, callbacks=[scripted, *callbacks], **options)


@pytest.fixture(params=["direct", "group"])
def given_to_keras(request):
    """How our callbacks are given to fit."""
    return (lambda callback: callback) if request.param == "direct" else lambda c: Callbacks([c])


@SETTINGS
@given(
    values=STREAMS,
    patience=st.integers(0, 3),
    min_delta=st.integers(0, 64).map(lambda n: n / 64),
    mode=st.sampled_from(["min", "max"]),
    start_from_epoch=st.integers(0, 2),
    restore_best_weights=st.booleans(),
)
def test_early_stopping(model, data, script, given_to_keras, values, **options):
    start = model.get_weights()
    outcomes = []
    for callback in (theirs.EarlyStopping(**options), ours.EarlyStopping(**options)):
        model.set_weights(start)
        wrapped = (
            given_to_keras(callback) if callback.__module__.startswith("callboard") else callback
        )
        history = played(model, data, script, values, [wrapped])
        outcomes.append(
            (
                history.epoch,
                callback.wait,
                callback.best,
                callback.best_epoch,
                callback.stopped_epoch,
                [weight.tobytes() for weight in model.get_weights()],
            )
        )
    assert outcomes[0] == outcomes[1]


@SETTINGS
@given(
    values=STREAMS,
    patience=st.integers(0, 3),
    factor=st.sampled_from([0.5, 0.25]),
    min_delta=st.integers(0, 64).map(lambda n: n / 64),
    mode=st.sampled_from(["min", "max"]),
    min_lr=st.sampled_from([0.0, 0.125]),
)
def test_reduce_lr_on_plateau(model, data, script, given_to_keras, values, **options):
    rates = []
    for kind in (theirs.ReduceLROnPlateau, ours.ReduceLROnPlateau):
        callback = kind(**options)
        wrapped = given_to_keras(callback) if kind is ours.ReduceLROnPlateau else callback
        history = played(model, data, script, values, [wrapped])
        rates.append((history.history["learning_rate"], float(model.optimizer.learning_rate)))
    assert rates[0] == rates[1]


@pytest.mark.parametrize("schedule", [lambda e: 0.5 / (e + 1), lambda e, lr: lr * 0.5])
def test_learning_rate_scheduler(model, data, script, given_to_keras, schedule):
    rates = []
    for kind in (theirs.LearningRateScheduler, ours.LearningRateScheduler):
        callback = kind(schedule)
        wrapped = given_to_keras(callback) if kind is ours.LearningRateScheduler else callback
        history = played(model, data, script, [1.0, 2.0, 3.0], [wrapped])
        rates.append(history.history["learning_rate"])
    assert rates[0] == rates[1]


@SETTINGS
@given(
    values=STREAMS,
    save_best_only=st.booleans(),
    save_weights_only=st.booleans(),
    mode=st.sampled_from(["min", "max"]),
    initial_value_threshold=st.sampled_from([None, 0.5]),
)
def test_model_checkpoint(model, data, script, given_to_keras, tmp_path_factory, values, **options):
    suffix = ".weights.h5" if options["save_weights_only"] else ".keras"
    saved = []
    for kind in (theirs.ModelCheckpoint, ours.ModelCheckpoint):
        folder = tmp_path_factory.mktemp("saved")
        callback = kind(folder / ("{epoch:02d}_{val_loss:.4f}" + suffix), **options)
        wrapped = given_to_keras(callback) if kind is ours.ModelCheckpoint else callback
        played(model, data, script, values, [wrapped])
        saved.append((sorted(path.name for path in folder.iterdir()), callback.best))
    assert saved[0] == saved[1]


@pytest.mark.parametrize("frequency", [1, 2, 5])
def test_model_checkpoint_by_batches(model, data, given_to_keras, tmp_path, frequency):
    saved = []
    for kind in (theirs.ModelCheckpoint, ours.ModelCheckpoint):
        folder = tmp_path / kind.__module__.split(".")[0]
        path = folder / "{epoch}_{batch}.weights.h5"
        callback = kind(path, save_weights_only=True, save_freq=frequency)
        wrapped = given_to_keras(callback) if kind is ours.ModelCheckpoint else callback
        model.fit(*data, batch_size=12, epochs=3, verbose=0, callbacks=[wrapped])
        saved.append(sorted(path.name for path in folder.iterdir()))
    assert saved[0] == saved[1]
    assert saved[0]


def test_csv_logger_and_history(model, data, given_to_keras, tmp_path):
    """Both in one fit: the same columns, the same values, written the same way."""
    history = ours.History()
    logger = ours.CSVLogger(tmp_path / "ours.csv")
    callbacks = [
        theirs.CSVLogger(tmp_path / "theirs.csv"),
        given_to_keras(logger),
        given_to_keras(history),
    ]
    kept = model.fit(*data, epochs=3, verbose=0, validation_data=data, callbacks=callbacks)
    assert (tmp_path / "ours.csv").read_text() == (tmp_path / "theirs.csv").read_text()
    assert history.history == kept.history
    assert history.epoch == kept.epoch


@pytest.mark.parametrize("update_freq", ["epoch", 1])
def test_tensorboard_tags_steps_and_values(model, data, given_to_keras, tmp_path, update_freq):
    """Both in one fit: what Keras writes, ours writes too, under the same tag, step and value."""
    options = {"histogram_freq": 1, "update_freq": update_freq, "write_images": True}
    callbacks = [
        theirs.TensorBoard(tmp_path / "theirs", **options),
        given_to_keras(ours.TensorBoard(tmp_path / "ours", **options)),
    ]
    model.fit(*data, batch_size=24, epochs=2, verbose=0, validation_data=data, callbacks=callbacks)
    for part in ("train", "validation"):
        expected = _tensors(tmp_path / "theirs" / part)
        actual = _tensors(tmp_path / "ours" / part)
        assert expected.keys() <= actual.keys()
        for tag, events in expected.items():
            steps = [step for step, _ in events]
            assert [step for step, _ in actual[tag]] == steps, tag
            if tag == "keras":
                assert actual[tag] == events
            elif "/" not in tag:
                for (_, mine), (_, value) in zip(actual[tag], events, strict=True):
                    assert mine == pytest.approx(value, rel=1e-6), tag


def _tensors(folder: Path):
    limits = {"tensors": 0, "scalars": 0}
    accumulator = EventAccumulator(str(folder), size_guidance=limits).Reload()
    tags = accumulator.Tags()
    found = {
        tag: [(e.step, _number(e.tensor_proto)) for e in accumulator.Tensors(tag)]
        for tag in tags["tensors"]
    }
    return found | {
        tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in tags["scalars"]
    }


def _number(proto):
    array = make_ndarray(proto)
    if array.shape != ():
        return None
    return float(array) if array.dtype.kind == "f" else array.item()


@pytest.mark.parametrize("raise_error", [False, True])
def test_terminate_on_nan(make_model, data, given_to_keras, raise_error):
    """Training ends in the epoch of the bad loss, as with Keras's."""
    x, y = data
    outcomes = []
    for kind in (theirs.TerminateOnNaN, ours.TerminateOnNaN):
        callback = kind(raise_error=raise_error)
        wrapped = given_to_keras(callback) if kind is ours.TerminateOnNaN else callback
        model = make_model()
        try:
            history = model.fit(x * np.nan, y, epochs=4, verbose=0, callbacks=[wrapped])
            outcomes.append(len(history.epoch))
        except (RuntimeError, ArithmeticError) as error:
            outcomes.append("nan" in str(error).lower() or "loss" in str(error).lower())
    assert outcomes[0] == outcomes[1]
