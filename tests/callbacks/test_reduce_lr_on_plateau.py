import math

import pytest

from callboard.callbacks import LambdaCallback, ReduceLROnPlateau
from callboard.testing import ScriptedRun

NAN = math.nan


def rates(values, **options):
    """The rate that each epoch was trained with, and the one at the end."""
    options = {"factor": 0.5, "patience": 1, **options}
    played = ScriptedRun(values, learning_rate=1.0).play(ReduceLROnPlateau(**options))
    return [*played.history["learning_rate"], played.learning_rate]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ([3, 3, 3], {}, [1, 1, 0.5, 0.25]),
        ([3, 3, 3], {"patience": 0}, [1, 1, 0.5, 0.25]),
        ([3, 3, 3, 3], {"patience": 2}, [1, 1, 1, 0.5, 0.5]),
        ([3, 2, 1], {}, [1, 1, 1, 1]),
        ([1, 2, 3], {"mode": "max"}, [1, 1, 1, 1]),
        ([3, 2.9999, 2.9999], {}, [1, 1, 0.5, 0.25]),  # min_delta is 1e-4 by default
        ([3, 2.9999, 2.9998], {"min_delta": 0}, [1, 1, 1, 1]),
        ([NAN, 3, 2], {}, [1, 0.5, 0.5, 0.5]),
        ([3, NAN, 2], {}, [1, 1, 0.5, 0.5]),
        ([3, None, 3], {}, [1, 1, 1, 0.5]),  # not counted
        ([3] * 4, {"min_lr": 0.4}, [1, 1, 0.5, 0.4, 0.4]),
        ([3] * 3, {"min_lr": 2.0}, [1, 1, 1, 1]),
        ([3] * 6, {"cooldown": 0}, [1, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        ([3] * 6, {"cooldown": 1}, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
        ([3] * 6, {"cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ([3, 3, 2, 2, 2], {"cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.25]),
    ],
)
def test_when_the_rate_is_cut(values, options, expected):
    assert rates(values, **options) == expected


def test_an_improvement_during_the_cooldown_is_the_best_from_then_on():
    reduce = ReduceLROnPlateau(factor=0.5, patience=1, cooldown=2)
    ScriptedRun([3, 3, 1, 2], learning_rate=1.0).play(reduce)
    assert reduce.best == 1
    assert not reduce.in_cooldown()


def test_the_decision_is_in_the_journal_and_printed_in_the_words_of_keras(capsys):
    played = ScriptedRun([3, 3], learning_rate=1.0).play(
        ReduceLROnPlateau(factor=0.5, patience=1, verbose=1)
    )
    assert capsys.readouterr().out == (
        "Epoch 2: ReduceLROnPlateau reducing learning rate to 0.5.\n"
    )
    (decision,) = played.journal.of("reduced")
    assert decision.cause == ("val_loss did not improve on 3 for 1 epochs: learning rate 1 -> 0.5")


def test_silent_by_default(capsys):
    rates([3, 3])
    assert capsys.readouterr().out == ""


def test_a_second_run_of_the_same_object_begins_anew():
    reduce = ReduceLROnPlateau(factor=0.5, patience=3, cooldown=5)
    ScriptedRun([1] * 4, learning_rate=1.0).play(reduce)
    assert (reduce.best, reduce.cooldown_counter) == (1, 5)
    played = ScriptedRun([9] * 3, learning_rate=1.0).play(reduce)
    assert (reduce.best, reduce.wait, reduce.cooldown_counter) == (9, 2, 0)
    assert played.learning_rate == 1.0


def test_a_rate_that_something_else_changed_is_what_is_cut():
    played = ScriptedRun([3, 3], learning_rate=1.0)
    change = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: epoch == 1 and setattr(played.model, "learning_rate", 8)
    )
    played.play(change, ReduceLROnPlateau(factor=0.25, patience=1))
    assert played.learning_rate == 2.0


def test_its_attributes_are_those_of_keras():
    reduce = ReduceLROnPlateau("acc", 0.2, 4, 1, "max", 0.5, 3, 0.01)
    assert (reduce.monitor, reduce.factor, reduce.patience, reduce.verbose) == ("acc", 0.2, 4, 1)
    assert (reduce.mode, reduce.min_delta, reduce.cooldown, reduce.min_lr) == ("max", 0.5, 3, 0.01)
    assert reduce.wait == 0
