import pytest

from callboard import Callback, ConfigurationError, HookError
from callboard._core.callback import HOOKS
from callboard._core.dispatch import CallbackList
from callboard.callbacks import LambdaCallback


class Raiser(Callback):
    def __init__(self, hook, error):
        def hurt(*_arguments):
            raise error

        setattr(self, hook, hurt)


@pytest.mark.parametrize("hook", HOOKS)
def test_an_error_names_the_callback_and_the_hook_in_a_note(hook):
    callbacks = CallbackList([Callback(), Raiser(hook, KeyError("lost"))])
    arguments = {"on_exception": (ValueError(),), "close": ()}.get(hook, (0, {})[-_arity(hook) :])
    with pytest.raises(KeyError, match="lost") as caught:
        getattr(callbacks, hook)(*arguments)
    assert caught.value.__notes__ == [f"raised in Raiser.{hook}"]


def _arity(hook):
    return 2 if "batch" in hook or "epoch" in hook else 1


def test_the_note_is_for_the_callback_that_raised_and_later_ones_are_not_called():
    heard = []
    calls = CallbackList(
        [
            LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append("before")),
            Raiser("on_epoch_end", ValueError("x")),
            LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append("after")),
        ]
    )
    with pytest.raises(ValueError, match="x") as caught:
        calls.on_epoch_end(0, {})
    assert caught.value.__notes__ == ["raised in Raiser.on_epoch_end"]
    assert heard == ["before"]


def test_an_error_keeps_its_cause_and_context():
    def fails(epoch, logs):
        try:
            {}["key"]
        except KeyError:
            raise ValueError("while handling")  # noqa: B904 - the implicit context is the point

    with pytest.raises(ValueError, match="while handling") as caught:
        CallbackList([LambdaCallback(on_epoch_end=fails)]).on_epoch_end(0, {})
    assert isinstance(caught.value.__context__, KeyError)
    assert not caught.value.__suppress_context__


@pytest.mark.parametrize("hook", HOOKS)
def test_stop_iteration_in_a_hook_is_an_error_of_its_own(hook):
    stop = StopIteration()
    calls = CallbackList([Raiser(hook, stop)])
    arguments = () if hook == "close" else (0, {})[-_arity(hook) :]
    with pytest.raises(HookError, match=rf"Raiser\.{hook} raised StopIteration") as caught:
        getattr(calls, hook)(*arguments)
    assert caught.value.__cause__ is stop


def test_stop_iteration_in_a_method_that_is_no_hook_is_an_error_of_its_own():
    calls = CallbackList([Raiser("check", StopIteration())])
    with pytest.raises(HookError, match=r"Raiser\.check raised StopIteration"):
        calls.each("check")


def test_an_error_that_several_raise_is_noted_once_for_each():
    same = OSError("disk full")
    calls = CallbackList([Raiser("close", same), Raiser("close", same)])
    with pytest.raises(OSError, match="disk full") as caught:
        calls.close()
    assert caught.value.__notes__ == ["raised in Raiser.close", "raised in Raiser.close"]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_while_callbacks_close_is_not_lost_behind_an_earlier_error(interrupt):
    calls = CallbackList([Raiser("close", interrupt()), Raiser("close", OSError("disk full"))])
    with pytest.raises(interrupt) as caught:
        calls.close()
    assert caught.value.__notes__ == [
        "raised in Raiser.close",
        "before it, OSError('disk full') was raised",
    ]


def test_on_exception_and_close_reach_all_and_the_first_error_has_notes_of_the_others():
    heard = []
    calls = CallbackList(
        [
            LambdaCallback(close=lambda: heard.append("first in the list")),
            Raiser("close", OSError("a")),
            LambdaCallback(close=lambda: heard.append("between")),
            Raiser("close", KeyError("b")),
        ]
    )
    with pytest.raises(KeyError, match="b") as caught:
        calls.close()
    assert heard == ["between", "first in the list"]
    assert caught.value.__notes__ == [
        "raised in Raiser.close",
        "then OSError('a') was raised",
        "raised in Raiser.close",
    ]


def test_hooks_take_logs_by_name_as_keras_passes_them_whether_idle_or_not():
    heard = []
    for calls in (
        CallbackList(),
        CallbackList([LambdaCallback(on_epoch_end=lambda *given: heard.append(given))]),
    ):
        calls.on_epoch_end(1, logs={"loss": 1.0})
        calls.on_train_begin(logs={})
    assert heard == [(1, {"loss": 1.0})]


def test_hooks_called_without_logs_pass_an_empty_dict():
    heard = []
    calls = CallbackList(
        [
            LambdaCallback(
                on_epoch_end=lambda epoch, logs: heard.append(logs),
                on_train_end=heard.append,
            )
        ]
    )
    calls.on_epoch_end(0)
    calls.on_train_end()
    assert heard == [{}, {}]


def test_lists_tuples_and_callback_lists_are_flattened_in_order():
    a, b, c, d, e = (Callback() for _ in range(5))
    flat = CallbackList([a, [b, (c,)], CallbackList([d]), iter([e])])
    assert list(flat) == [a, b, c, d, e]
    assert len(flat) == 5
    assert list(CallbackList(a)) == [a]
    assert list(CallbackList()) == []


def test_the_same_object_twice_is_an_error_also_when_nested():
    callback = LambdaCallback()
    with pytest.raises(ConfigurationError, match="the same LambdaCallback object is given twice"):
        CallbackList([callback, [callback]])


def test_a_class_where_an_object_is_wanted_is_named():
    with pytest.raises(ConfigurationError, match=r"class LambdaCallback .* LambdaCallback\("):
        CallbackList([LambdaCallback])


@pytest.mark.parametrize("thing", [None, "EarlyStopping", 3, lambda epoch, logs: None, {"a": 1}])
def test_what_is_no_callback_is_named(thing):
    with pytest.raises(ConfigurationError, match="which is no callback"):
        CallbackList([thing])


def test_each_calls_those_that_have_the_method_and_notes_where_an_error_was():
    class Checked(Callback):
        def check(self):
            raise ValueError("no")

    class Foreign:
        def set_model(self, model):
            self.model = model

    foreign = Foreign()
    calls = CallbackList([foreign, Checked()])
    calls.each("set_model", "net")
    assert foreign.model == "net"
    with pytest.raises(ValueError, match="no") as caught:
        calls.each("check")
    assert caught.value.__notes__ == ["raised in Checked.check"]


def test_a_hook_of_a_parent_class_is_noted_under_the_name_of_the_callback():
    class Parent(Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("x")

    class Child(Parent):
        pass

    with pytest.raises(ValueError, match="x") as caught:
        CallbackList([Child()]).on_epoch_end(0, {})
    assert caught.value.__notes__ == ["raised in Child.on_epoch_end"]


def test_a_hook_set_to_none_is_not_called():
    callback = Callback()
    callback.on_epoch_end = None
    calls = CallbackList([callback])
    assert calls.idle("on_epoch_end")
    calls.on_epoch_end(0, {})


def test_the_only_one_that_hears_a_hook_may_sleep():
    class Sleeps(Callback):
        wakes_at_s = 5.0

        def on_train_batch_end(self, batch, logs=None):
            """Hear it."""

    class Hears(Callback):
        def on_train_batch_end(self, batch, logs=None):
            """Hear it."""

    sleeps = Sleeps()
    assert CallbackList([sleeps, Callback()]).sleeper("on_train_batch_end") is sleeps
    assert CallbackList([sleeps, Hears()]).sleeper("on_train_batch_end") is None
    assert CallbackList([Hears()]).sleeper("on_train_batch_end") is None
    assert CallbackList([sleeps]).sleeper("on_test_batch_end") is None
