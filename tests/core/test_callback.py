import copy
import pickle

import pytest

from callboard import (
    Callback,
    ConfigurationError,
    Run,
    RunStateError,
    UnknownArgumentError,
    callbacks,
)
from callboard._core.callback import HOOKS
from callboard._core.dispatch import CallbackList
from callboard._core.hosted import HostedRun
from callboard.testing import ScriptedRun


def test_every_hook_does_nothing_in_the_base_class():
    callback = Callback()
    for hook in HOOKS:
        if hook == "on_exception":
            callback.on_exception(ValueError())
        elif hook == "close":
            callback.close()
        elif "epoch" in hook or "batch" in hook:
            assert getattr(callback, hook)(0, {}) is None
        else:
            assert getattr(callback, hook)({}) is None


def test_default_hooks_carry_the_mark_that_keras_looks_for_and_overriding_ones_do_not():
    assert Callback().on_train_batch_end._is_default

    class Mine(Callback):
        def on_train_batch_end(self, batch, logs=None):
            pass

    assert not hasattr(Mine().on_train_batch_end, "_is_default")


def test_before_a_run_there_is_none():
    with pytest.raises(RunStateError, match="takes part in no run yet"):
        _ = callbacks.EarlyStopping().run


def test_a_subclass_that_does_not_call_super_init_works():
    class Mine(Callback):
        def __init__(self):
            self.epochs = []

        def on_epoch_end(self, epoch, logs=None):
            self.epochs.append((self.run.progress.epoch, self.params["epochs"]))

    mine = Mine()
    ScriptedRun([1.0, 2.0]).play(mine)
    assert mine.epochs == [(0, 2), (1, 2)]
    assert repr(mine) == "Mine()"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: callbacks.EarlyStopping(patiense=3), "'patiense'. Did you mean 'patience'?"),
        (lambda: callbacks.ReduceLROnPlateau(epsilon=1), "'epsilon'.* Allowed: monitor, factor"),
        (
            lambda: callbacks.ModelCheckpoint("a.pt", save_best=True),
            "Did you mean 'save_best_only'",
        ),
        (lambda: callbacks.CSVLogger("a.csv", seperator=";"), "Did you mean 'separator'"),
        (lambda: callbacks.LearningRateScheduler(float, verbos=1), "Did you mean 'verbose'"),
        (lambda: callbacks.TerminateOnNaN(raise_errors=True), "Did you mean 'raise_error'"),
        (lambda: callbacks.LambdaCallback(on_epoch_ended=print), "Did you mean 'on_epoch_end'"),
        (lambda: callbacks.MonitorCallback(delta=1), "has no argument 'delta'"),
        (lambda: callbacks.ProgbarLogger(count_mode="steps"), "has no argument 'count_mode'"),
        (lambda: callbacks.History(keep=3), "has no argument 'keep'"),
        (lambda: Callback(patience=3), r"Callback\(\) takes no arguments"),
        (lambda: Callback(3), r"Callback\(\) takes no arguments"),
    ],
)
def test_an_unknown_argument_is_an_error_that_names_the_nearest(make, message):
    with pytest.raises(UnknownArgumentError, match=message) as caught:
        make()
    assert isinstance(caught.value, TypeError)


def test_a_subclass_with_any_keyword_arguments_takes_them():
    class Mine(Callback):
        def __init__(self, **options):
            self.options = options

    assert Mine(a=1).options == {"a": 1}


def test_callbacks_are_copied_and_pickled():
    stopping = callbacks.EarlyStopping(patience=4)
    stopping.best = 0.5
    for twin in (copy.deepcopy(stopping), pickle.loads(pickle.dumps(stopping))):
        assert (twin.patience, twin.best) == (4, 0.5)


def test_an_object_used_again_is_reset_but_keeps_state_that_was_loaded_since():
    class Counts(Callback):
        def __init__(self):
            self.count = 0

        def reset(self):
            self.count = 0

        def on_epoch_end(self, epoch, logs=None):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            super().load_state_dict(state)
            self.count = state["count"]

    counts = Counts()
    ScriptedRun([1.0, 1.0]).play(counts)
    assert counts.count == 2
    ScriptedRun([1.0]).play(counts)
    assert counts.count == 1
    counts.load_state_dict({"count": 10})
    ScriptedRun([1.0]).play(counts)
    assert counts.count == 11


def test_the_base_class_has_no_state_and_writes_nothing():
    callback = Callback()
    assert callback.state_dict() == {}
    callback.load_state_dict({})
    assert list(callback.writes()) == []
    callback.reset()
    callback.check()


def test_after_a_run_the_callback_still_knows_it():
    callback = Callback()
    run = Run(callbacks=[callback], verbose=0)
    with run:
        pass
    assert callback.run is run


def test_an_evaluation_with_the_same_object_inside_of_a_run_ends_where_it_was():
    class Evaluating(Callback):
        ended = closed = 0

        def close(self):
            self.closed += 1

        def on_epoch_end(self, epoch, logs=None):
            outer, params = self.run, self.params
            with Run(callbacks=[self], verbose=0, purpose="test") as inner:
                assert self.run is inner
                assert self.params != params
            assert self.run is outer
            assert self.params == params
            self.ended += 1
            self.run.stop("seen enough")

        def reset(self):
            self.ended = 0

    callback = Evaluating()
    for _ in range(2):
        with Run(callbacks=[callback], verbose=0, epochs=5) as run:
            for _ in run.epochs():
                for _ in run.train([1]):
                    run.log(loss=1.0)
        assert run.stop_reason == "seen enough"
        assert callback.ended == 1
    assert callback.closed == 2  # with the runs, not with the evaluations


def test_a_training_inside_of_another_needs_callbacks_of_its_own(recorder):
    seen = recorder(["on_exception", "close"])
    with Run(callbacks=[seen], verbose=0) as outer:
        inner = Run(callbacks=[seen], verbose=0)
        with pytest.raises(ConfigurationError, match="takes part in another run that goes on"):
            inner.__enter__()
        assert seen.run is outer
        assert seen.lines == []
    assert seen.lines == ["close"]
    with Run(callbacks=[seen], verbose=0):
        pass


def test_a_host_that_did_not_tell_of_its_end_does_not_keep_its_callbacks():
    callback = Callback()
    for _ in range(2):
        HostedRun(callbacks=[callback], verbose=0, signals=False).begin()
    with Run(callbacks=[callback], verbose=0) as run:
        assert callback.run is run


def test_an_attribute_that_means_something_else_is_told():
    class Tracked(Callback):
        def on_train_begin(self, logs=None):
            self.run = "of a tracker"

    with pytest.raises(ConfigurationError, match=r"Tracked sets self\.run, which is"):
        Tracked().on_train_begin()

    class Sorted(Callback):
        order = "first"

    with pytest.raises(ConfigurationError, match=r"Sorted\.order must be a number"):
        CallbackList([Sorted()])

    class Foreign:
        order = "of something else"

        def set_model(self, model):
            self.model = model

    assert len(CallbackList([Foreign(), Callback()])) == 2
