import math

import numpy as np

from callboard.callbacks import History
from callboard.testing import ScriptedRun


def test_lists_stay_aligned_with_the_epochs_when_a_metric_is_missing():
    script = {"loss": [3.0, 2.0, 1.0], "val_loss": [None, 4.0, None], "late": [None, None, 7.0]}
    run = ScriptedRun(script).play().run
    assert run.history.epoch == [0, 1, 2]
    np.testing.assert_array_equal(run.history.history["loss"], [3.0, 2.0, 1.0])
    np.testing.assert_array_equal(run.history.history["val_loss"], [math.nan, 4.0, math.nan])
    np.testing.assert_array_equal(run.history.history["late"], [math.nan, math.nan, 7.0])


def test_epochs_are_the_absolute_ones():
    run = ScriptedRun([1.0, 2.0, 3.0], monitor="loss", initial_epoch=1).play().run
    assert run.history.epoch == [1, 2]
    assert run.history.history == {"loss": [2.0, 3.0]}


def test_a_history_that_is_given_is_the_one_of_the_run_and_begins_anew_in_the_next():
    history = History()
    run = ScriptedRun([1.0, 2.0], monitor="loss").play(history).run
    assert run.history is history
    ScriptedRun([3.0], monitor="loss").play(history)
    assert (history.epoch, history.history) == ([0], {"loss": [3.0]})


def test_it_keeps_what_is_no_number():
    history = History()
    history.on_epoch_end(0, {"note": "warm-up"})
    history.on_epoch_end(1)
    assert history.history["note"][0] == "warm-up"
    assert math.isnan(history.history["note"][1])


def test_its_state_does_not_change_with_it():
    history = History()
    history.on_epoch_end(0, {"loss": 1.0})
    state = history.state_dict()
    history.on_epoch_end(1, {"loss": 2.0})
    assert state == {"epoch": [0], "history": {"loss": [1.0]}}
    again = History()
    again.load_state_dict(state)
    again.on_epoch_end(1, {"loss": 2.0})
    assert (again.epoch, again.history) == (history.epoch, history.history)
    assert state["epoch"] == [0]
