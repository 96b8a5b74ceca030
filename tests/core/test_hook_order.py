from pathlib import Path

import pytest

from callboard import Callback, Run
from callboard.callbacks import CallbackList, LambdaCallback

GOLDEN = Path(__file__).parent.parent / "golden"


def expected(name):
    return (GOLDEN / f"{name}.txt").read_text().splitlines()


def play(*callbacks, epochs=2, batches=2):
    with Run(epochs=epochs, callbacks=callbacks, verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(batches)):
                run.log(loss=1.0)
            for _ in run.validate(range(1)):
                run.log(loss=2.0)
    return run


def test_a_run_with_validation_calls_the_hooks_in_keras_order(recorder):
    seen = recorder()
    play(seen)
    assert seen.lines == [*expected("keras_fit"), "close"]


def test_an_evaluation_calls_the_hooks_in_keras_order(recorder):
    seen = recorder()
    with Run(callbacks=[seen], purpose="test", verbose=0) as run:
        for _ in run.validate(range(2)):
            run.log(loss=1.0)
    assert seen.lines == [*expected("keras_evaluate"), "close"]
    assert dict(run.logs) == {"loss": 1.0}
    assert run.batches == 2


def test_a_prediction_calls_the_hooks_in_keras_order(recorder):
    seen = recorder()
    with Run(callbacks=[seen], purpose="predict", verbose=0) as run:
        assert list(run.predict("ab")) == ["a", "b"]
    assert seen.lines == [*expected("keras_predict"), "close"]
    assert run.batches == 2


def test_begin_hooks_get_an_empty_mapping_and_not_none():
    seen = []
    play(
        LambdaCallback(
            on_train_begin=seen.append,
            on_epoch_begin=lambda epoch, logs: seen.append(logs),
            on_train_batch_begin=lambda batch, logs: seen.append(logs),
            on_test_begin=seen.append,
            on_test_batch_begin=lambda batch, logs: seen.append(logs),
        ),
        epochs=1,
        batches=1,
    )
    assert [None if logs is None else dict(logs) for logs in seen] == [{}] * 5


def test_set_run_model_and_params_come_before_every_hook_and_in_keras_order():
    class Early(Callback):
        heard = ()

        def set_run(self, run):
            super().set_run(run)
            self.heard += ("run",) if run else ("end",)

        def set_model(self, model):
            super().set_model(model)
            self.heard += ("model",)

        def set_params(self, params):
            super().set_params(params)
            self.heard += ("params",)

        def check(self):
            self.heard += ("check",)

        def on_train_begin(self, logs=None):
            self.heard += ("begin",)

        def close(self):
            self.heard += ("close",)

    early = Early()
    run = play(early)
    assert early.heard == ("run", "model", "params", "check", "begin", "close", "end")
    assert early.params == {"verbose": 0, "epochs": 2, "steps": None}
    assert early.model is run.model


def test_callbacks_run_by_their_order_and_then_as_listed(recorder):
    class First(recorder):
        order = -10

    class Last(recorder):
        order = 40

    lines = []
    make = {"only": ["on_epoch_end", "close"], "lines": lines}
    play(Last(name="z", **make), recorder(name="a", **make), First(name="f", **make), epochs=1)
    assert [line.split()[:2] for line in lines] == [
        ["f", "on_epoch_end"],
        ["a", "on_epoch_end"],
        ["z", "on_epoch_end"],
        ["z", "close"],
        ["a", "close"],
        ["f", "close"],
    ]


def test_equal_orders_keep_the_order_of_the_list_and_teardown_reverses_it(recorder):
    lines = []
    names = ["c", "a", "b"]
    listed = [recorder(["on_train_begin", "close"], lines, name) for name in names]
    play(listed[0], [listed[1], (listed[2],)], epochs=1)
    assert lines == [
        *(f"{name} on_train_begin" for name in names),
        *(f"{name} close" for name in reversed(names)),
    ]


def test_what_one_adds_to_the_epoch_logs_the_later_ones_and_the_history_see():
    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = epoch * 10.0

    seen = []
    run = play(Adds(), LambdaCallback(on_epoch_end=lambda e, logs: seen.append(logs["extra"])))
    assert seen == [0.0, 10.0]
    assert run.history.history["extra"] == [0.0, 10.0]


def test_on_train_end_gets_what_callbacks_added_to_the_last_epoch_logs():
    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 5.0

    ends = []
    play(Adds(), LambdaCallback(on_train_end=lambda logs: ends.append(dict(logs))))
    assert ends == [{"loss": 1.0, "val_loss": 2.0, "extra": 5.0}]


@pytest.mark.parametrize("hook", ["on_batch_begin", "on_batch_end"])
def test_the_older_names_of_the_batch_hooks_are_called_for_training_batches(hook):
    heard = []
    callback = Callback()
    setattr(callback, hook, lambda batch, logs: heard.append(batch))
    play(callback, epochs=1, batches=3)
    assert heard == [0, 1, 2]


def test_a_callback_with_both_names_is_called_once_a_batch_by_the_newer():
    heard = []

    class Both(Callback):
        def on_batch_end(self, batch, logs=None):
            heard.append(("old", batch))

        def on_train_batch_end(self, batch, logs=None):
            heard.append(("new", batch))

    play(Both(), epochs=1, batches=2)
    assert heard == [("new", 0), ("new", 1)]


def test_the_newer_name_can_hand_on_to_the_older_through_super():
    heard = []

    class Forwards(Callback):
        def on_batch_begin(self, batch, logs=None):
            heard.append(("begin", batch))

        def on_batch_end(self, batch, logs=None):
            heard.append(("end", batch))

        def on_train_batch_begin(self, batch, logs=None):
            super().on_train_batch_begin(batch, logs)

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)

    play(Forwards(), epochs=1, batches=1)
    assert heard == [("begin", 0), ("end", 0)]


def test_an_object_of_another_class_hears_the_hooks_that_it_has():
    class Foreign:
        def __init__(self):
            self.heard = []

        def set_model(self, model):
            self.heard.append("set_model")

        def on_epoch_end(self, epoch, logs):
            self.heard.append(f"epoch {epoch}")

    foreign = Foreign()
    play(foreign, epochs=2)
    assert foreign.heard == ["set_model", "epoch 0", "epoch 1"]


def test_a_hook_that_nobody_overrides_is_not_prepared_for():
    run = Run(verbose=0, callbacks=[Callback()])
    assert run.callbacks.idle("on_train_batch_end")
    assert run.callbacks.hook("on_train_batch_end") is None


def test_a_hook_given_to_the_object_after_construction_is_called_from_the_beginning_of_the_run():
    callback = Callback()
    callbacks = CallbackList([callback])
    assert callbacks.idle("on_epoch_end")
    heard = []
    callback.on_epoch_end = lambda epoch, logs: heard.append(epoch)
    callbacks.resolve()
    callbacks.on_epoch_end(3, {})
    assert heard == [3]
