"""CallbackList in a loop that calls the hooks itself."""

import os
from types import SimpleNamespace

import pytest

from callboard import Callback, ConfigurationError, Run, RunStateError
from callboard.callbacks import (
    BackupAndRestore,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
)

os.environ.setdefault("KERAS_BACKEND", "torch")


def loop(callbacks, losses, validates=False):
    """The loop of Keras's documentation; return the epochs that took place."""
    callbacks.on_train_begin()
    for epoch, loss in enumerate(losses):
        callbacks.on_epoch_begin(epoch)
        for batch in range(2):
            callbacks.on_train_batch_begin(batch)
            callbacks.on_train_batch_end(batch, {"loss": loss})
        logs = {"loss": loss}
        if validates:
            callbacks.on_test_begin()
            callbacks.on_test_batch_begin(0)
            callbacks.on_test_batch_end(0, {"loss": loss})
            callbacks.on_test_end({"loss": loss})
            logs["val_loss"] = loss
        callbacks.on_epoch_end(epoch, logs)
        if callbacks.model.stop_training:
            break
    callbacks.on_train_end(logs)
    return epoch + 1


def test_hooks_are_those_that_keras_calls(recorder):
    keras = pytest.importorskip("keras")

    class Trace(keras.callbacks.Callback):
        def __init__(self, lines):
            super().__init__()
            self.lines = lines
            for hook in dir(keras.callbacks.Callback):
                if hook.startswith("on_") and hook not in {"on_batch_begin", "on_batch_end"}:
                    setattr(self, hook, self.recording(hook))

        def recording(self, hook):
            def record(*given, logs=None):
                *index, names = given if logs is None else (*given, logs)
                self.lines.append(" ".join([hook, *map(str, index), *sorted(names)]))

            return record

    theirs, ours = [], []
    model = SimpleNamespace(stop_training=False)
    loop(keras.callbacks.CallbackList([Trace(theirs)], model=model), [0.5, 0.4], validates=True)
    loop(CallbackList([Trace(ours)]), [0.5, 0.4], validates=True)
    assert ours == theirs
    seen = recorder()
    loop(CallbackList([seen]), [0.5, 0.4], validates=True)
    assert seen.lines == [*theirs, "close"]


def test_callbacks_that_need_a_run_work(tmp_path):
    stopping = EarlyStopping(patience=2)
    callbacks = CallbackList(
        [stopping, CSVLogger(tmp_path / "log.csv")], add_history=True, epochs=9, steps=2
    )
    assert loop(callbacks, [0.5, 0.4, 0.6, 0.7, 0.1], validates=True) == 4
    assert stopping.stopped_epoch == 3
    assert callbacks.run.stop_reason == "val_loss did not improve on 0.4 for 2 epochs"
    assert callbacks.run.progress.step == 8
    assert callbacks.model.history.history["val_loss"] == [0.5, 0.4, 0.6, 0.7]
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == "epoch,loss,val_loss"


def test_a_torch_module_is_seen_as_in_a_run(tmp_path):
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 1)
    path = tmp_path / "weights.safetensors"
    callbacks = CallbackList([ModelCheckpoint(path)], model=net)
    assert callbacks.model.module is net
    loop(callbacks, [0.5])
    assert path.exists()


def test_an_object_of_any_kind_may_be_the_model():
    model = SimpleNamespace(name="mine")
    stopping = EarlyStopping("loss", patience=1)
    callbacks = CallbackList([stopping], add_history=True, model=model)
    assert loop(callbacks, [0.5, 0.6, 0.7]) == 2
    assert stopping.model is model
    assert model.stop_training
    assert model.history.epoch == [0, 1]


def test_what_needs_an_optimizer_says_so_at_the_beginning():
    callbacks = CallbackList([ReduceLROnPlateau("loss")])
    with pytest.raises(TypeError, match="needs the model"):
        callbacks.on_train_begin()


def test_a_run_cannot_be_gone_on_with(tmp_path):
    callbacks = CallbackList([BackupAndRestore(tmp_path)])
    with pytest.raises(ConfigurationError, match=r"write the loop with callboard\.Run"):
        callbacks.on_train_begin()


def test_params_are_all_that_were_given():
    seen = Callback()
    callbacks = CallbackList([seen], epochs=3, samples=60)
    assert seen.params == {"epochs": 3, "samples": 60}
    callbacks.on_train_begin()
    assert seen.params == {"verbose": 1, "epochs": 3, "steps": None, "samples": 60}


def test_appended_callbacks_have_their_hooks_called():
    lines = []

    class Said(Callback):
        def on_epoch_end(self, epoch, logs=None):
            lines.append(epoch)

    callbacks = CallbackList()
    callbacks.append(Said())
    callbacks.on_epoch_end(0)
    callbacks.append([Said()])
    loop(callbacks, [0.5])
    assert lines == [0, 0, 0]
    assert len(callbacks) == 2


def test_appending_to_a_run_that_has_begun_is_an_error():
    callbacks = CallbackList()
    callbacks.on_train_begin()
    with pytest.raises(RunStateError, match="before on_train_begin"):
        callbacks.append(Callback())
    callbacks.on_train_end()
    callbacks.append(Callback())


def test_an_error_that_is_reported_closes_the_callbacks(recorder):
    seen = recorder(only=["on_exception", "close"])
    callbacks = CallbackList([seen])
    callbacks.on_train_begin()
    callbacks.on_exception(ValueError("x"))
    assert seen.lines == ["on_exception ValueError", "close"]
    callbacks.on_train_begin()
    callbacks.close()
    assert seen.lines[2:] == ["close"]


def test_evaluation_and_prediction_of_their_own(recorder):
    seen = recorder()
    callbacks = CallbackList([seen])
    callbacks.on_test_begin()
    callbacks.on_test_batch_begin(0)
    callbacks.on_test_batch_end(0, {"loss": 1.0})
    callbacks.on_test_end({"loss": 1.0})
    callbacks.on_predict_begin()
    callbacks.on_predict_batch_begin(0)
    callbacks.on_predict_batch_end(0, {"outputs": [1.0]})
    callbacks.on_predict_end()
    assert seen.lines == [
        "on_test_begin",
        "on_test_batch_begin 0",
        "on_test_batch_end 0 loss",
        "on_test_end loss",
        "close",
        "on_predict_begin",
        "on_predict_batch_begin 0",
        "on_predict_batch_end 0 outputs",
        "on_predict_end",
        "close",
    ]


def test_history_and_progress_are_added_once(capsys):
    given = History()
    callbacks = CallbackList([given], add_history=True, add_progbar=True, epochs=1, verbose=2)
    assert [type(each) for each in callbacks] == [History, ProgbarLogger]
    loop(callbacks, [0.5])
    assert "Epoch 1/1" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="pass epochs="):
        CallbackList(add_progbar=True)


def test_fit_and_run_take_one_as_a_list():
    stopping = EarlyStopping("loss", patience=1)
    with Run(epochs=9, callbacks=CallbackList([stopping]), verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([0]):
                run.log(loss=1.0)
    assert stopping.stopped_epoch == 1


def test_the_list_may_be_used_again():
    stopping = EarlyStopping("loss", patience=1)
    callbacks = CallbackList([stopping])
    assert loop(callbacks, [0.5, 0.5, 0.5]) == 2
    assert loop(callbacks, [0.5, 0.4, 0.5, 0.5]) == 3
