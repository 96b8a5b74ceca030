import signal
import threading

import keras
import numpy as np
import pytest

from callboard import (
    Callback,
    ConfigurationError,
    ConfigurationWarning,
    MetricNotFoundError,
    RunStateError,
)
from callboard._core.callback import HOOKS
from callboard.callbacks import (
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from callboard.keras import Callbacks

ALL = [h for h in HOOKS if h not in ("on_batch_begin", "on_batch_end")]


def trained(model, data, callbacks, epochs=2, **options):
    options.setdefault("validation_data", data)
    model.fit(*data, epochs=epochs, batch_size=16, verbose=0, callbacks=callbacks, **options)


def test_hooks_are_those_that_keras_calls(model, data, recorder):
    keras_hooks = [hook for hook in ALL if hook not in ("on_interrupt", "on_exception", "close")]
    ours = recorder(keras_hooks)

    class Theirs(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.calls = []

    def noting(hook):
        def note(self, *arguments, logs=None):
            *index, last = (*arguments, logs) if logs is not None else (*arguments,) or (None,)
            self.calls.append((hook, *index, sorted(last or {})))

        return note

    for hook in keras_hooks:
        setattr(Theirs, hook, noting(hook))
    theirs = Theirs()
    trained(model, data, [theirs, Callbacks([ours])])
    assert [call[:-1] for call in ours.calls] == [call[:-1] for call in theirs.calls]
    ends = [call for call in ours.calls if call[0].endswith("_end")]
    assert ends == [call for call in theirs.calls if call[0].endswith("_end")]


@pytest.mark.parametrize("batch_hook", [False, True])
def test_steps_are_counted_whether_or_not_batches_are_heard(model, data, batch_hook):
    callbacks = [LambdaCallback(on_train_batch_end=lambda b, logs: None)] if batch_hook else []
    group = Callbacks(callbacks)
    trained(model, data, [group], epochs=3)
    assert group.run.progress.state_dict() | {"samples": 0} == {
        "epoch": 2,
        "batch": 3,
        "step": 9,
        "samples": 0,
    }


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras has none of it on torch")
def test_steps_of_executions_are_counted(make_model, data):
    model = make_model(steps_per_execution=2)
    group = Callbacks([LambdaCallback(on_train_batch_end=lambda b, logs: None)])
    trained(model, data, [group], epochs=2)
    assert group.run.progress.step == 6


def test_callbacks_without_batch_hooks_leave_keras_asynchronous(tmp_path):
    quiet = [EarlyStopping(), CSVLogger(tmp_path / "log.csv"), TensorBoard(tmp_path)]
    theirs = keras.callbacks.CallbackList(quiet)
    assert theirs._async_train == (keras.backend.backend() != "tensorflow")
    group = keras.callbacks.CallbackList([Callbacks([*quiet, TerminateOnNaN()])])
    assert group._async_train == theirs._async_train
    loud = keras.callbacks.CallbackList([LambdaCallback(on_train_batch_end=print)])
    assert not loud._async_train


def test_a_bad_loss_ends_training_without_waiting_for_every_batch(model, data, tmp_path):
    threads = set()

    class Watched(TerminateOnNaN):
        def on_train_batch_end(self, batch, logs=None):
            threads.add(threading.get_ident())
            super().on_train_batch_end(batch, logs)

    x, y = data
    group = Callbacks([Watched(), ModelCheckpoint(tmp_path / "never.keras")])
    with pytest.warns(RuntimeWarning, match="NaN"):
        model.fit(x * np.nan, y, epochs=5, batch_size=4, verbose=0, callbacks=[group])
    assert "invalid loss" in group.run.stop_reason
    assert len(group.history.epoch) == 1
    assert [d.action for d in group.journal].count("stopped") == 1
    assert not list(tmp_path.iterdir())
    if keras.backend.backend() != "tensorflow":
        assert threading.get_ident() not in threads


def test_early_stopping_puts_the_best_weights_back(model, data, script):
    kept = []
    stopping = EarlyStopping(patience=2, restore_best_weights=True)
    values = [0.5, 0.3, 0.4, 0.6, 0.1]
    note = LambdaCallback(on_epoch_end=lambda e, logs: kept.append(model.get_weights()[0].copy()))
    group = Callbacks([stopping, note])
    trained(model, data, [script(val_loss=values), group], epochs=5)
    assert (stopping.stopped_epoch, stopping.best_epoch, stopping.best) == (3, 1, 0.3)
    assert np.array_equal(model.get_weights()[0], kept[1])
    assert not np.array_equal(kept[3], kept[1])


def test_the_rate_is_lowered_and_is_in_keras_logs(model, data, script):
    plateau = ReduceLROnPlateau(patience=1, factor=0.5, min_delta=0)
    log = keras.callbacks.History()
    group = Callbacks([plateau])
    trained(model, data, [script(val_loss=[1.0, 1.0, 1.0]), group, log], epochs=3)
    assert log.history["learning_rate"] == pytest.approx([0.01, 0.01, 0.005])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0025)


@pytest.mark.parametrize(
    "callback", [LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau("loss")], ids=repr
)
def test_a_rate_that_a_schedule_sets_is_an_error_before_the_first_epoch(make_model, data, callback):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    model = make_model(optimizer=keras.optimizers.SGD(schedule))
    before = model.get_weights()[0]
    with pytest.raises(ConfigurationError, match="ExponentialDecay"):
        trained(model, data, [Callbacks([callback])])
    assert np.array_equal(model.get_weights()[0], before)


def test_what_will_never_be_logged_is_an_error(model, data):
    group = Callbacks([EarlyStopping("val_acuracy", mode="max")], validation=True)
    with pytest.raises(MetricNotFoundError, match="val_acuracy"):
        trained(model, data, [group], epochs=1)


def test_directions_come_from_metrics_and_outputs(data):
    x, y = data
    given = keras.Input((4,))
    outputs = {
        "a": keras.layers.Dense(2, name="a")(given),
        "b": keras.layers.Dense(2, name="b")(given),
    }
    model = keras.Model(given, outputs)
    model.compile("sgd", {"a": "mse", "b": "mse"}, metrics={"a": ["mae"], "b": ["accuracy"]})
    watched = [EarlyStopping(f"val_{n}") for n in ("a_mae", "b_accuracy", "a_loss")]
    model.fit(x, {"a": y, "b": y}, validation_split=0.5, verbose=0, callbacks=[Callbacks(watched)])
    assert [callback._watched.mode for callback in watched] == ["min", "max", "min"]


def test_two_that_set_the_rate_are_found_before_the_first_epoch(model, data):
    group = Callbacks([LearningRateScheduler(lambda epoch: 0.1), ReduceLROnPlateau("loss")])
    with pytest.raises(ConfigurationError, match="learning rate"):
        trained(model, data, [group])


def test_order_is_declared_and_not_that_of_the_list(model, data, tmp_path):
    class Adds(Callback):
        order = -10

        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 1.0

    path = tmp_path / "log.csv"
    trained(model, data, [Callbacks([CSVLogger(path), Adds()])])
    assert "extra" in path.read_text().splitlines()[0]


@pytest.fixture(params=[RuntimeError("broken"), KeyboardInterrupt("broken")], ids=repr)
def broken(request, recorder):
    """A callback that fails, an error of that kind, and what records its consequences."""

    def fail(batch, logs):
        raise request.param

    seen = recorder(["on_exception", "close", "on_train_end"])
    return seen, LambdaCallback(on_train_batch_end=fail), type(request.param)


def test_errors_reach_the_callbacks_of_a_group_that_is_entered(model, data, broken):
    seen, failing, error = broken
    with pytest.raises(error, match="broken"), Callbacks([seen, failing]) as group:
        trained(model, data, [group])
    assert [call[0] for call in seen.calls] == ["on_exception", "close"]
    assert np.isfinite(model.get_weights()[0]).all()  # JAX has its state back


def test_errors_show_to_others_when_the_next_training_begins(model, data, broken):
    seen, failing, error = broken
    group = Callbacks([seen, failing])
    with pytest.raises(error, match="broken"):
        trained(model, data, [group])
    assert seen.calls == []
    trained(model, data, [Callbacks([])], epochs=1)
    assert [call[0] for call in seen.calls] == ["on_exception", "close"]


def test_an_error_in_a_hook_names_the_callback(model, data):
    class Broken(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no") as raised:
        trained(model, data, [Callbacks([Broken()])])
    assert any("Broken.on_epoch_end" in note for note in raised.value.__notes__)


def test_signals_are_answered_in_a_group_that_is_entered(model, data, recorder):
    before = signal.getsignal(signal.SIGTERM)
    seen = recorder(["on_exception"])
    send = LambdaCallback(on_train_batch_end=lambda b, logs: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as ended, Callbacks([seen, send]) as group:
        trained(model, data, [group])
    assert ended.value.code == 143
    assert len(seen.calls) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_same_callbacks_train_twice(model, data):
    stopping = EarlyStopping(patience=1, min_delta=100)
    group = Callbacks([stopping])
    for _ in range(2):
        trained(model, data, [group], epochs=5)
        assert stopping.stopped_epoch == 1
        assert len(group.history.epoch) == 2
    assert model._initial_epoch is None


def test_evaluation_and_prediction_call_their_hooks(model, data, recorder):
    hooks = [h for h in ALL if "test" in h or "predict" in h]
    seen = recorder(hooks)
    model.evaluate(*data, batch_size=24, verbose=0, callbacks=[Callbacks([seen])])
    model.predict(data[0], batch_size=24, verbose=0, callbacks=[Callbacks([seen])])
    assert [call[0] for call in seen.calls] == [
        "on_test_begin",
        *["on_test_batch_begin", "on_test_batch_end"] * 2,
        "on_test_end",
        "on_predict_begin",
        *["on_predict_batch_begin", "on_predict_batch_end"] * 2,
        "on_predict_end",
    ]
    assert seen.calls[5][-1] == ["loss", "mae"]
    assert seen.calls[-2][-1] == ["outputs"]


def test_a_custom_training_step_may_log_anything(data):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

        def train_step(self, *arguments):
            logs = super().train_step(*arguments)
            if isinstance(logs, tuple):  # JAX
                return {"own": logs[0]["loss"]}, logs[1]
            return {"own": logs["loss"]}

    model = Own()
    model.compile("sgd", "mse")
    stopping = EarlyStopping("own", mode="min", patience=1, min_delta=100)
    group = Callbacks([stopping])
    model.fit(*data, epochs=4, verbose=0, callbacks=[group])
    assert stopping.stopped_epoch == 1


def test_a_group_that_was_in_no_fit_says_so():
    with pytest.raises(RunStateError, match="no training has begun"):
        _ = Callbacks([]).run


def test_histograms_of_activations_need_nothing_more(model, data, tmp_path):
    group = Callbacks([TensorBoard(tmp_path, histogram_freq=1)])
    trained(model, data, [group])
    assert group.run.samples["train"] is not None
    assert not [d for d in group.journal if d.action == "skipped"]


def test_a_sample_is_used_instead_of_the_data(model, data, tmp_path):
    group = Callbacks([TensorBoard(tmp_path, histogram_freq=1)], sample=data[0][:4])
    trained(model, data, [group])
    assert group.run.samples["train"][0].shape == (4, 4)


def test_both_patience_and_plateau_warn(model, data):
    group = Callbacks([EarlyStopping(patience=1), ReduceLROnPlateau(patience=5)])
    with pytest.warns(ConfigurationWarning, match="patience"):
        trained(model, data, [group], epochs=1)
