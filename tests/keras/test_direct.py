"""Callbacks of ours in the list given to Keras, beside Keras's own."""

import copy
import gc
import weakref

import keras
import pytest

from callboard import Callback, ConfigurationError
from callboard._core.callback import HOOKS
from callboard.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)


def trained(model, data, callbacks, epochs=2, **options):
    options.setdefault("validation_data", data)
    return model.fit(*data, epochs=epochs, batch_size=16, verbose=0, callbacks=callbacks, **options)


def all_of_the_tutorial(folder):
    return [
        EarlyStopping(patience=9),
        LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        ModelCheckpoint(folder / "best.keras", save_best_only=True),
        CSVLogger(folder / "log.csv"),
        TensorBoard(folder / "tb", histogram_freq=1),
        LambdaCallback(on_epoch_end=lambda epoch, logs: None),
        TerminateOnNaN(),
        History(),
    ]


def test_the_tutorials_callbacks_work_in_a_plain_list(model, data, tmp_path):
    callbacks = all_of_the_tutorial(tmp_path)
    trained(model, data, callbacks, epochs=3)
    assert (tmp_path / "best.keras").exists()
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0] == "epoch,learning_rate,loss,mae,val_loss,val_mae"
    assert len(rows) == 4
    assert callbacks[-1].epoch == [0, 1, 2]
    assert {callback.run for callback in callbacks} == {callbacks[0].run}  # they act as one
    assert all(callback.model is model for callback in callbacks)


def test_what_kerass_callbacks_add_is_seen_and_what_ours_add_too(model, data, script, tmp_path):
    theirs = keras.callbacks.CSVLogger(tmp_path / "theirs.csv")

    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["ours"] = 1.0

    ours = CSVLogger(tmp_path / "ours.csv")
    trained(model, data, [script(theirs=[2.0, 2.0]), Adds(), ours, theirs])
    for path in ("ours.csv", "theirs.csv"):
        header = (tmp_path / path).read_text().splitlines()[0]
        assert header == "epoch,loss,mae,ours,theirs,val_loss,val_mae"


def test_hooks_come_in_kerass_order(model, data, recorder):
    hooks = [
        h for h in HOOKS if h.startswith("on_") and h not in ("on_batch_begin", "on_batch_end")
    ]
    first, second = recorder(hooks), recorder(hooks)
    trained(model, data, [first, second], epochs=1)
    model.evaluate(*data, batch_size=24, verbose=0, callbacks=[first])
    assert first.calls[: len(second.calls)] == second.calls
    names = [call[0] for call in second.calls]
    assert names[:4] == [
        "on_train_begin",
        "on_epoch_begin",
        "on_train_batch_begin",
        "on_train_batch_end",
    ]
    assert names[-3:] == ["on_test_end", "on_epoch_end", "on_train_end"]
    assert [call[0] for call in first.calls[len(second.calls) :]] == [
        "on_test_begin",
        *["on_test_batch_begin", "on_test_batch_end"] * 2,
        "on_test_end",
    ]


def test_a_stop_is_seen_by_keras(model, data, script):
    stopping = EarlyStopping(patience=1)
    history = trained(model, data, [script(val_loss=[1.0, 2.0, 3.0]), stopping], epochs=3)
    assert history.epoch == [0, 1]
    assert stopping.run.stop_reason


def test_their_own_hooks_are_back_afterwards(model, data):
    seen = []
    callback = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    before = dict(vars(callback))
    trained(model, data, [callback, EarlyStopping()])
    left = {name for name in vars(callback) if name.startswith("on_")}
    assert left == {name for name in before if name.startswith("on_")}
    callback.on_epoch_end(7, {})
    assert seen == [0, 1, 7]


def test_the_same_objects_train_again_also_after_an_error(model, data):
    stopping, quiet = EarlyStopping(patience=1, min_delta=100), History()

    def fail(epoch, logs):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        trained(model, data, [stopping, quiet, LambdaCallback(on_epoch_end=fail)])
    for _ in range(2):
        trained(model, data, [stopping, quiet], epochs=4)
        assert quiet.epoch == [0, 1]


def test_mistakes_are_found_before_the_first_epoch(make_model, data):
    rates = [LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau("loss")]
    with pytest.raises(ConfigurationError, match="learning rate"):
        trained(make_model(), data, rates)


def test_a_backup_beside_others_has_their_state(make_model, data, tmp_path, script):
    def callbacks(stop):
        stopping = EarlyStopping(patience=3)
        values = script(val_loss=[1.0, 2.0, 3.0, 4.0, 5.0])
        dying = [LambdaCallback(on_epoch_begin=_raise_in(1))] if stop else []
        return stopping, [values, BackupAndRestore(tmp_path / "backup"), stopping, *dying]

    _, first = callbacks(stop=True)
    with pytest.raises(RuntimeError, match="interrupted"):
        trained(make_model(), data, first, epochs=5)
    stopping, again = callbacks(stop=False)
    model = make_model()
    history = trained(model, data, again, epochs=5)
    assert history.epoch == [1, 2, 3]  # those that were left
    assert stopping.stopped_epoch == 3
    assert model._initial_epoch is None


def _raise_in(wanted):
    def act(epoch, logs):
        if epoch == wanted:
            raise RuntimeError("interrupted")

    return act


def test_callbacks_can_be_copied_before_training():
    copies = copy.deepcopy([EarlyStopping(patience=3), History()])
    assert copies[0].patience == 3


def test_nothing_keeps_the_model(make_model, data):
    model = make_model()
    trained(model, data, [EarlyStopping()])
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
