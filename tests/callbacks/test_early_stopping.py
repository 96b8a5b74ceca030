import math

import numpy as np
import pytest

from callboard import Run, UnsupportedError
from callboard.callbacks import EarlyStopping, LambdaCallback
from callboard.testing import ScriptedRun

NAN, INF, NONE = math.nan, math.inf, None


def table():
    """Values of the metric, arguments, and the epoch after which training stops (None: never)."""
    yield "patience 0 acts as 1", [3, 2, 2, 1], {}, 2
    yield "patience 1", [3, 2, 2, 1], {"patience": 1}, 2
    yield "patience 2", [3, 2, 2, 2, 1], {"patience": 2}, 3
    yield "improvement starts anew", [3, 4, 2, 3, 1, 2, 3], {"patience": 2}, 6
    yield "improving to the end", [5, 4, 3, 2, 1], {"patience": 1}, None
    yield "never better than the first", [1, 2, 3, 4], {"patience": 3}, 3
    yield "patience longer than the run", [1, 2, 2, 2], {"patience": 4}, None
    yield "a tie is no improvement", [1, 1, 1], {"patience": 2}, 2
    yield "exactly min_delta is none", [1.0, 0.5, 0.0], {"min_delta": 0.5, "patience": 1}, 1
    yield "more than min_delta", [1.0, 0.25, 0.0], {"min_delta": 0.5, "patience": 1}, 2
    yield "min_delta from the best", [1, 0.8, 0.4], {"min_delta": 0.5, "patience": 2}, None
    yield "sign of min_delta", [1.0, 0.75, 0.5], {"min_delta": -0.5, "patience": 2}, 2
    yield "max", [1, 2, 2, 3], {"mode": "max", "patience": 1}, 2
    yield "max, falling", [3, 2, 1], {"mode": "max", "patience": 2}, 2
    yield "max, min_delta", [1, 1.5, 2], {"mode": "max", "min_delta": 0.5, "patience": 1}, 1
    yield "auto is min for a loss", [1, 2], {"mode": "auto"}, 1
    yield "NaN first", [NAN, 2, 1, 1, 1], {"patience": 2}, 4
    yield "NaN first is a bad epoch", [NAN, 2, 1], {"patience": 1}, 0
    yield "NaN later", [3, NAN, 2, NAN, NAN], {"patience": 2}, 4
    yield "only NaN", [NAN, NAN, NAN, NAN], {"patience": 3}, 2
    yield "-inf is not the best", [3, -INF, 2, 1], {"patience": 2}, None
    yield "inf for max", [1, INF, 2, 3], {"mode": "max", "patience": 2}, None
    yield "inf first", [INF, 2, 3, 3], {"patience": 2}, 3
    yield "below float32", [1.00000002, 1.00000001, 1.0, 1.0], {"patience": 1}, 3
    yield "big whole numbers", [16777217, 16777216, 16777216], {"patience": 1}, 2
    yield "baseline never reached", [5, 4, 3, 2], {"baseline": 1, "patience": 2}, 1
    yield "baseline reached in time", [5, 0.5, 0.4, 0.4], {"baseline": 1, "patience": 2}, None
    yield "baseline, then a plateau", [0.9, 0.9, 0.9], {"baseline": 1, "patience": 2}, 2
    yield "baseline met exactly", [1, 1, 1], {"baseline": 1, "patience": 2}, 1
    yield "baseline for max", [0.5, 0.6, 0.7], {"mode": "max", "baseline": 0.9, "patience": 3}, 2
    yield "epochs without the metric", [3, NONE, NONE, NONE, 4, NONE, 4], {"patience": 2}, 6
    yield "start later", [1, 5, 4, 4, 4], {"start_from_epoch": 1, "patience": 2}, 4
    yield "start later, best before", [1, 9, 9, 9], {"start_from_epoch": 2, "patience": 1}, 3
    yield "start after the end", [1, 1, 1], {"start_from_epoch": 5}, None


@pytest.mark.parametrize(
    ("values", "options", "stops"), [pytest.param(*row[1:], id=row[0]) for row in table()]
)
def test_when_it_stops(values, options, stops):
    stopping = EarlyStopping(**options)
    played = ScriptedRun(values).play(stopping)
    assert played.stopped_epoch == stops
    assert stopping.stopped_epoch == (stops or 0)
    assert len(played.run.history.epoch) == (len(values) if stops is None else stops + 1)


def test_start_from_epoch_is_an_absolute_epoch_also_when_training_goes_on():
    played = ScriptedRun([1, 1, 1, 5, 5, 5], initial_epoch=2).play(
        EarlyStopping(start_from_epoch=3, patience=1)
    )
    assert played.stopped_epoch == 4


def test_the_reason_is_told_to_the_run_and_the_journal():
    played = ScriptedRun([0.9, 0.7, 0.8, 0.8]).play(EarlyStopping(patience=2))
    assert played.run.stop_reason == "val_loss did not improve on 0.7 for 2 epochs"
    (decision,) = played.journal.of("stopped")
    assert (decision.callback, decision.epoch, decision.cause) == (
        "EarlyStopping",
        3,
        played.run.stop_reason,
    )


@pytest.mark.parametrize(
    ("values", "target"), [([5, 4], "1"), ([0.5, 0.6, 0.6], "0.5"), ([NAN, NAN], "1")]
)
def test_the_reason_names_what_had_to_be_beaten(values, target):
    played = ScriptedRun(values).play(EarlyStopping(patience=2, baseline=1))
    assert played.run.stop_reason == f"val_loss did not improve on {target} for 2 epochs"


def test_verbose_prints_the_words_of_keras(capsys):
    ScriptedRun([1.0, 2.0, 2.0]).play(
        EarlyStopping(patience=2, verbose=1, restore_best_weights=True)
    )
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 3: early stopping",
        "Restoring model weights from the end of the best epoch: 1.",
    ]


def test_silent_by_default(capsys):
    ScriptedRun([1.0, 2.0]).play(EarlyStopping(restore_best_weights=True))
    assert capsys.readouterr().out == ""


# ---- restoring the best weights ------------------------------------------------------------------

RESTORING = {"restore_best_weights": True}


@pytest.mark.parametrize(
    ("values", "patience", "restored"),
    [
        ([3, 1, 2, 2], 2, 1),  # stopped
        ([3, 1, 2, 2], 9, 1),  # a natural end
        ([3, 2, 1], 9, 2),
        ([NAN, 2, 3], 9, 1),
        ([NAN, NAN, NAN], 9, 0),  # nothing better than the first
    ],
)
def test_the_weights_of_the_best_epoch_come_back(values, patience, restored):
    stopping = EarlyStopping(patience=patience, **RESTORING)
    played = ScriptedRun(values).play(stopping)
    assert played.model.weight == restored
    assert stopping.best_epoch == restored
    assert played.journal[-1].action == "restored"


def test_they_come_back_also_when_another_callback_stops():
    class Stops(LambdaCallback):
        pass

    stops = Stops(on_epoch_end=lambda epoch, logs: epoch == 2 and stops.run.stop("enough"))
    played = ScriptedRun([2, 1, 3, 3, 3]).play(stops, EarlyStopping(patience=9, **RESTORING))
    assert played.stopped_epoch == 2
    assert played.model.weight == 1


def test_they_do_not_come_back_after_an_error():
    def fails(epoch, logs):
        if epoch == 2:
            raise ValueError("x")

    script = ScriptedRun([1, 2, 2, 2])
    with pytest.raises(ValueError, match="x"):
        script.play(EarlyStopping(patience=9, **RESTORING), LambdaCallback(on_epoch_end=fails))
    assert script.model.weight == 2


def test_without_the_option_weights_stay_and_are_not_copied():
    stopping = EarlyStopping()
    assert ScriptedRun([1, 2]).play(stopping).model.weight == 1
    assert stopping.best_weights is None


def test_epochs_before_the_start_are_not_restored_and_the_first_is_named_rightly():
    stopping = EarlyStopping(start_from_epoch=2, patience=9, **RESTORING)
    assert ScriptedRun([0, 0, NAN, NAN]).play(stopping).model.weight == 2
    assert stopping.best_epoch == 2


def test_the_arrays_are_reused_from_one_best_epoch_to_the_next():
    stopping = EarlyStopping(patience=9, **RESTORING)
    seen = []
    look = LambdaCallback(on_epoch_end=lambda e, logs: seen.append(stopping.best_weights["weight"]))
    ScriptedRun([3, 2, 1]).play(stopping, look)
    assert seen[0] is seen[1] is seen[2]


def test_a_state_that_was_taken_does_not_change_afterwards():
    stopping = EarlyStopping(patience=9, **RESTORING)
    states = []
    take = LambdaCallback(on_epoch_end=lambda epoch, logs: states.append(stopping.state_dict()))
    ScriptedRun([3, 2, 1]).play(stopping, take)
    assert [float(state["best_weights"]["weight"]) for state in states] == [0, 1, 2]
    fresh = EarlyStopping(patience=9, **RESTORING)
    fresh.load_state_dict(states[0])
    ScriptedRun([1, 0]).play(fresh)
    assert float(states[0]["best_weights"]["weight"]) == 0


def test_a_run_without_weights_is_an_error_only_if_they_are_wanted():
    with pytest.raises(UnsupportedError), Run(callbacks=[EarlyStopping(**RESTORING)], verbose=0):
        pytest.fail("the run began")


# ---- using an object again -----------------------------------------------------------------------


def test_a_second_run_of_the_same_object_begins_anew():
    stopping = EarlyStopping(patience=2, **RESTORING)
    assert ScriptedRun([0.1, 0.2, 0.2]).play(stopping).stopped_epoch == 2
    again = ScriptedRun([5, 4, 6, 6, 6]).play(stopping)
    assert again.stopped_epoch == 3
    assert again.model.weight == 1
    assert (stopping.best, stopping.best_epoch, stopping.wait) == (4, 1, 2)


def test_attributes_are_there_to_be_read_and_set():
    stopping = EarlyStopping(patience=3, min_delta=0.5, mode="max")
    stopping.wait = 2
    stopping.patience = 5
    stopping.best = 0.25
    assert (stopping.patience, stopping.wait, stopping.best) == (5, 2, 0.25)
    assert stopping.min_delta == 0.5
    assert stopping.monitor_op(1.0, 0.25)
    assert not stopping.monitor_op(0.75, 0.25)


def test_all_arguments_may_be_positional_in_the_order_of_keras():
    stopping = EarlyStopping("val_acc", 0.1, 3, 1, "max", 0.5, True, 2)
    assert (stopping.monitor, stopping.min_delta, stopping.patience) == ("val_acc", 0.1, 3)
    assert (stopping.verbose, stopping.mode, stopping.baseline) == (1, "max", 0.5)
    assert (stopping.restore_best_weights, stopping.start_from_epoch) == (True, 2)


def test_values_of_numpy_are_watched_like_floats():
    values = list(np.array([3, 2, 2], dtype=np.float32))
    assert ScriptedRun(values).play(EarlyStopping()).stopped_epoch == 2


def test_a_metric_that_was_never_finite_is_no_best_to_improve_on():
    played = ScriptedRun([NAN, NAN, NAN], monitor="val_loss").play(EarlyStopping(patience=2))
    assert [d.cause for d in played.journal] == ["val_loss was not finite for 2 epochs"]
