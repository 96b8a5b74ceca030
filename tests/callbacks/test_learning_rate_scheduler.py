import functools
import math

import numpy as np
import pytest

from callboard import ConfigurationError
from callboard.callbacks import LearningRateScheduler
from callboard.testing import ScriptedRun


def rates(schedule, epochs=3, **options):
    played = ScriptedRun([1.0] * epochs, learning_rate=1.0).play(
        LearningRateScheduler(schedule, **options)
    )
    return played.history["learning_rate"]


class Schedule:
    def __call__(self, epoch, lr):
        return lr / 2


def with_default(epoch, lr=None):
    return lr / 2


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda epoch, lr: lr / 2, [0.5, 0.25, 0.125]),
        (lambda epoch: 1.0 / (epoch + 1), [1.0, 0.5, 1 / 3]),
        (lambda *given: given[1] / 2, [0.5, 0.25, 0.125]),
        (functools.partial(lambda factor, epoch, lr: lr * factor, 0.5), [0.5, 0.25, 0.125]),
        (Schedule(), [0.5, 0.25, 0.125]),
        (with_default, [0.5, 0.25, 0.125]),
        (lambda epoch, *, floor=0.5: floor, [0.5, 0.5, 0.5]),
        ([3.0, 2.0, 1.0].__getitem__, [3.0, 2.0, 1.0]),
        (float, [0.0, 1.0, 2.0]),  # a built-in whose signature cannot be looked at
    ],
)
def test_a_schedule_of_epoch_and_rate_or_of_the_epoch_alone(schedule, expected):
    assert rates(schedule) == pytest.approx(expected)


@pytest.mark.parametrize("given", [1, np.float32(1.0), np.float64(1.0), np.array(1.0), 0])
def test_any_number_is_a_rate(given):
    assert rates(lambda epoch: given, epochs=1) == [float(given)]


@pytest.mark.parametrize(
    "given", [None, math.nan, math.inf, -0.1, "0.1", True, [0.1], np.array([0.1, 0.2]), 1j]
)
def test_what_is_no_rate_is_an_error_that_names_the_epoch(given):
    with pytest.raises(ConfigurationError, match="for epoch 0; it must return a finite number"):
        rates(lambda epoch: given)


def test_a_type_error_in_the_schedule_is_the_users_and_it_is_called_once():
    calls = []

    def broken(epoch, lr):
        calls.append(epoch)
        return lr + "x"

    with pytest.raises(TypeError, match="unsupported operand"):
        rates(broken)
    assert calls == [0]


def test_a_change_is_in_the_journal_and_an_unchanged_rate_is_not():
    played = ScriptedRun([1.0] * 3, learning_rate=1.0).play(
        LearningRateScheduler(lambda epoch: 1.0 if epoch < 2 else 0.1)
    )
    assert [(d.epoch, d.cause) for d in played.journal] == [
        (2, "schedule(2): learning rate 1 -> 0.1")
    ]


def test_verbose_prints_every_epoch_in_the_words_of_keras(capsys):
    rates(lambda epoch: 0.5, epochs=2, verbose=1)
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1: LearningRateScheduler setting learning rate to 0.5.",
        "Epoch 2: LearningRateScheduler setting learning rate to 0.5.",
    ]


def test_epochs_are_the_absolute_ones_when_training_goes_on():
    asked = []
    ScriptedRun([1.0] * 4, initial_epoch=2).play(
        LearningRateScheduler(lambda epoch: asked.append(epoch) or 0.1)
    )
    assert asked == [2, 3]
