"""Callbacks are saved by name, also those that say nothing of their state."""

import numpy as np
import pytest

from callboard import Callback, ConfigurationWarning
from callboard._core.callback_states import CallbackStates


class Own(Callback):
    def __init__(self, value=0):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.value = state["value"]


class Plain(Callback):
    """As written for Keras: counters in attributes."""

    def __init__(self, patience=3):
        self.patience = patience
        self.wait = 0
        self.losses = []
        self.table = np.zeros(2)


class Named(Callback):
    def __init__(self, filename, amount):
        self.filename, self.amount = filename, amount
        self.count = 0


class Foreign:
    """No class of ours."""

    def __init__(self):
        self.seen = 0

    def set_model(self, model):
        self.model = model


def test_states_go_by_the_name_of_the_class_and_a_number():
    states = CallbackStates([Own(1), Own(2), Plain()])
    assert states.state_dict() == {"Own": {"value": 1}, "Own-2": {"value": 2}, "Plain": {}}
    fresh = [Own(), Plain(), Own()]
    CallbackStates(fresh).load_state_dict(states.state_dict())
    assert [fresh[0].value, fresh[2].value] == [1, 2]


def test_of_several_each_gets_the_state_of_the_one_that_had_its_arguments():
    before = CallbackStates([Named("a", 1), Named("b", 2)])
    before._named["Named"].count, before._named["Named-2"].count = 10, 20
    fresh = [Named("c", 3), Named("b", 4), Named("a", 1)]
    with pytest.warns(ConfigurationWarning, match="Named was not among the callbacks before"):
        CallbackStates(fresh).load_state_dict(before.state_dict(), before.arguments)
    assert [callback.count for callback in fresh] == [0, 20, 10]
    one = [Named("b", 2)]
    with pytest.warns(ConfigurationWarning, match="Named was among the callbacks before"):
        CallbackStates(one).load_state_dict(before.state_dict(), before.arguments)
    assert one[0].count == 20


def test_the_only_one_of_a_class_goes_on_with_other_arguments():
    before = CallbackStates([Named("a", 1)])
    before._named["Named"].count = 10
    fresh = Named("b", 2)
    CallbackStates([fresh]).load_state_dict(before.state_dict(), before.arguments)
    assert fresh.count == 10


def test_the_name_of_a_class_may_look_like_one_with_a_number():
    odd = type("Odd-2", (Named,), {})
    before = CallbackStates([odd("a", 1), odd("b", 1)])
    fresh = [odd("a", 1), odd("b", 1)]
    before._named["Odd-2-2"].count = 5
    CallbackStates(fresh).load_state_dict(before.state_dict(), before.arguments)
    assert [callback.count for callback in fresh] == [0, 5]


def test_what_has_changed_of_a_plain_callback_is_saved_and_nothing_else():
    callback = Plain()
    states = CallbackStates([callback])
    callback.wait = 2
    callback.losses.append(0.5)
    callback.table[0] = 1
    saved = states.state_dict()
    assert saved["Plain"].keys() == {"wait", "losses", "table"}
    callback.losses.append(0.25)
    callback.table[1] = 1
    fresh = Plain(patience=7)
    CallbackStates([fresh]).load_state_dict(saved)
    assert (fresh.patience, fresh.wait, fresh.losses) == (7, 2, [0.5])
    assert fresh.table.tolist() == [1, 0]
    fresh.losses.append(1)
    assert saved["Plain"]["losses"] == [0.5]


def test_a_callback_that_is_no_class_of_ours_is_saved_alike():
    callback = Foreign()
    states = CallbackStates([callback])
    callback.set_model(object())
    callback.seen = 4
    fresh = Foreign()
    CallbackStates([fresh]).load_state_dict(states.state_dict())
    assert fresh.seen == 4
    assert not hasattr(fresh, "model")


def test_what_cannot_be_saved_is_named_once():
    callback = Plain()
    states = CallbackStates([callback])
    callback.stream = object()
    with pytest.warns(ConfigurationWarning, match=r"Plain\.stream changed to a object"):
        assert states.state_dict() == {"Plain": {}}
    assert states.state_dict() == {"Plain": {}}


def test_what_is_not_plain_and_stays_is_not_mentioned():
    callback = Plain()
    callback.function = print
    callback.nested = {"a": [(1, None, b"x")], 3: {"b": np.float32(1)}}
    states = CallbackStates([callback])
    assert states.state_dict() == {"Plain": {}}
    callback.nested[3]["b"] = np.float32(2)
    assert states.state_dict()["Plain"]["nested"][3] == {"b": np.float32(2)}


def test_a_large_array_counts_as_changed_only_if_it_is_another():
    callback = Plain()
    callback.table = np.zeros(1_000_000)
    states = CallbackStates([callback])
    callback.table[0] = 1
    assert states.state_dict() == {"Plain": {}}


def test_other_callbacks_than_before_are_told():
    saved = CallbackStates([Own(1)]).state_dict()
    with pytest.warns(ConfigurationWarning) as told:
        CallbackStates([Plain()]).load_state_dict(saved)
    assert [str(each.message) for each in told] == [
        "Plain was not among the callbacks before, so it begins anew",
        "Own was among the callbacks before and is not now; its state is left",
    ]
