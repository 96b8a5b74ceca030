import math

import numpy as np
import pytest

from callboard import NonFiniteError, Run
from callboard.callbacks import LambdaCallback, TerminateOnNaN
from callboard.testing import ScriptedModel

MESSAGE = "Batch {}: Invalid loss, terminating training\n"


def play(losses, callback, model=None, epochs=2):
    run = Run(trainable=model or ScriptedModel(), epochs=epochs, callbacks=[callback], verbose=0)
    with run:
        for _ in run.epochs():
            for loss in run.train(losses):
                run.log(loss=loss)
    return run


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_training_ends_behind_the_batch_with_a_bad_loss(bad, capsys):
    run = play([1.0, bad, 1.0, 1.0], TerminateOnNaN())
    assert run.progress.step == 2
    assert run.stop_reason == f"batch 1 has an invalid loss: {bad}"
    assert capsys.readouterr().out == MESSAGE.format(1)
    assert [d.action for d in run.journal] == ["stopped"]


def test_training_with_a_finite_loss_goes_on(capsys):
    run = play([1.0, 2.0], TerminateOnNaN())
    assert run.progress.step == 4
    assert capsys.readouterr().out == ""


def test_an_error_on_request():
    with pytest.raises(
        NonFiniteError, match="batch 0 has an invalid loss: nan; the update was not"
    ):
        play([math.nan], TerminateOnNaN(raise_error=True))


def test_looks_are_as_far_apart_as_asked_and_the_epoch_does_not_end_unseen(capsys):
    losses = [1.0, math.nan, 1.0, 1.0, 1.0, 1.0]
    assert play(losses, TerminateOnNaN(check_freq=3)).progress.step == 4
    assert play(losses, TerminateOnNaN(check_freq=100)).progress.step == 6
    assert capsys.readouterr().out == MESSAGE.format(3) + MESSAGE.format(5)


def test_where_reading_waits_for_a_device_every_32nd_batch_is_looked_at(capsys):
    class Slow(ScriptedModel):
        synchronous = False

    losses = [1.0, math.nan, *[1.0] * 60]
    assert play(losses, TerminateOnNaN(), Slow()).progress.step == 33
    assert capsys.readouterr().out == MESSAGE.format(32)


def test_where_bad_updates_are_rejected_in_any_case_no_look_waits_for_the_latest_one(capsys):
    class Guarded(ScriptedModel):
        synchronous = False

        def guard(self, *, gradients):
            return True

    model = Guarded()
    model.rejected = "loss: nan"
    losses = [1.0, math.nan, *[1.0] * 98]
    run = play(losses, TerminateOnNaN(), model)
    assert run.progress.step == 65
    assert run.stop_reason == "one of the batches 1 to 64 has an invalid loss: nan"
    assert play(losses[:40], TerminateOnNaN(), model).progress.step == 40  # at the epoch's end
    assert play(losses, TerminateOnNaN(check_freq=8), model).progress.step == 1
    assert capsys.readouterr().out == "".join(map(MESSAGE.format, (64, 39, 0)))


def test_of_batches_that_were_not_looked_at_one_by_one_none_is_named(capsys):
    losses = [*[1.0] * 11, math.nan, *[1.0] * 8]
    run = play(losses, TerminateOnNaN(check_freq=5))
    assert run.stop_reason == "one of the batches 11 to 15 has an invalid loss: nan"
    assert capsys.readouterr().out == MESSAGE.format(15)


def test_which_batches_were_looked_at_is_known_after_a_resume_and_anew_in_an_epoch():
    callback = TerminateOnNaN(check_freq=5)
    states = []
    note = LambdaCallback(on_train_batch_end=lambda *_: states.append(callback.state_dict()))
    run = Run(trainable=ScriptedModel(), callbacks=[callback, note], verbose=0)
    with run:
        for _ in run.epochs():
            for loss in run.train([1.0] * 7):
                run.log(loss=loss)
    assert [state["sound"] for state in states] == [1, 1, 1, 1, 1, 6, 6]
    resumed = TerminateOnNaN()
    resumed.load_state_dict(states[-1])
    assert resumed.state_dict() == states[-1] == {"next_look": 10, "sound": 6}
    assert callback.state_dict() == {"next_look": 0, "sound": 0}


def test_an_update_that_was_rejected_is_named(capsys):
    model = ScriptedModel()
    model.rejected = "gradient of 'dense.weight'"
    run = play([1.0], TerminateOnNaN(gradients=True), model)
    assert run.stop_reason == "batch 0 has an invalid gradient of 'dense.weight'"
    assert capsys.readouterr().out == MESSAGE.format(0)


def test_updates_are_guarded_during_the_run_only():
    guarded = []

    class Watched(ScriptedModel):
        def guard(self, *, gradients):
            guarded.append(gradients)
            return super().guard(gradients=gradients)

    for gradients in (False, True):
        model = Watched()
        play([1.0], TerminateOnNaN(gradients=gradients), model)
        assert not model.guarded
    assert guarded == [False, True]


def test_where_the_model_looks_at_every_loss_itself_the_logs_are_not_read():
    class Looks(ScriptedModel):
        def guard(self, *, gradients):
            super().guard(gradients=gradients)
            return True

    class Unreadable:
        dtype = np.dtype("float32")
        shape = ()

        def __mul__(self, weight):
            return self

        def __add__(self, other):
            return self

        def __float__(self):
            if not epoch_is_over:
                raise AssertionError("it was read")
            return 1.0

    epoch_is_over = []
    run = Run(trainable=Looks(), callbacks=[TerminateOnNaN()], verbose=0)
    with run:
        for _ in run.epochs():
            for _ in run.train(range(3)):
                run.log(loss=Unreadable())
            epoch_is_over.append(True)
    assert run.stop_reason == ""


def test_a_guard_is_taken_away_after_an_error_too():
    model = ScriptedModel()
    with pytest.raises(NonFiniteError):
        play([math.nan], TerminateOnNaN(raise_error=True), model)
    assert not model.guarded


def test_a_loop_without_a_loss_is_left_alone():
    with Run(callbacks=[TerminateOnNaN()], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(score=math.nan)
    assert run.stop_reason == ""


def test_closing_one_that_was_in_no_run_does_nothing():
    TerminateOnNaN().close()


def test_every_epoch_is_looked_at_from_its_first_batch(capsys):
    class Turns:
        """Good in the first epoch, bad at once in the second."""

        epoch = 0

        def __iter__(self):
            self.epoch += 1
            return iter([1.0] * 3 if self.epoch == 1 else [math.nan, 1.0, 1.0])

    assert play(Turns(), TerminateOnNaN(check_freq=2)).progress.step == 4
    assert capsys.readouterr().out == MESSAGE.format(0)
