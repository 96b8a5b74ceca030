import types

import pytest

from callboard import Callback, Run, UnknownNameError
from callboard.callbacks import ProgbarLogger, progbar_logger
from callboard.testing import ScriptedRun


class FakeDisplay:
    """Notes what it is asked to show."""

    every_s = 0.1
    first_s = 0.0

    def __init__(self):
        self.shown = []

    def begin(self, title):
        self.shown.append(("begin", title))

    def draw(self, line, validation=None):
        self.shown.append(("draw", line.done, line.total, dict(line.metrics)))
        if validation is not None:
            self.shown.append(
                (validation.label, validation.done, validation.total, dict(validation.metrics))
            )

    def end(self, line):
        self.shown.append(("end", line.done, line.total, dict(line.metrics)))

    def close(self):
        self.shown.append(("close",))


@pytest.fixture
def display(monkeypatch):
    display = FakeDisplay()
    monkeypatch.setattr(progbar_logger, "suitable_display", lambda verbose, style: display)
    return display


@pytest.fixture
def clock(monkeypatch):
    """Time that a test moves."""
    now = [100.0]
    fake = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(progbar_logger, "time", fake)
    monkeypatch.setattr("callboard._core.passes.perf_counter", fake.perf_counter)
    return now


class Loss:
    """A value that counts how often it is read."""

    dtype = types.SimpleNamespace(itemsize=8)
    shape = ()

    def __init__(self, reads):
        self.reads = reads

    def __mul__(self, factor):
        return self

    def __add__(self, other):
        return self

    def __float__(self):
        self.reads.append(1)
        return 1.0  # the sum


def test_it_is_redrawn_ten_times_a_second_at_most_and_reads_only_then(display, clock):
    reads = []
    with Run(verbose=1) as run:
        for _ in run.epochs():
            for _ in run.train(range(1000)):
                run.log(loss=Loss(reads))
                clock[0] += 0.001
    draws = [shown for shown in display.shown if shown[0] == "draw"]
    assert len(draws) == 10
    assert len(reads) == 10 + 1  # and the end of the epoch
    assert draws[0][1] == 1  # the first batch shows that it is going on
    assert display.shown[-2:] == [("end", 1000, 1000, {"loss": 0.001}), ("close",)]


def test_a_slow_loop_is_drawn_at_every_batch(display, clock):
    with Run(verbose=1, epochs=2) as run:
        for _ in run.epochs():
            for _ in run.train(range(2)):
                run.log(loss=0.5)
                clock[0] += 1
    one = [
        ("draw", 1, 2, {"loss": 0.5}),
        ("draw", 2, 2, {"loss": 0.5}),
        ("end", 2, 2, {"loss": 0.5}),
    ]
    assert display.shown == [
        *[("begin", "Epoch 1/2"), *one],
        *[("begin", "Epoch 2/2"), *one],
        ("close",),
    ]


def test_a_validation_inside_an_epoch_is_drawn_below_what_the_epoch_has_come_to(display, clock):
    with Run(verbose=1) as run:
        for _ in run.epochs():
            for _ in run.train(range(3)):
                run.log(loss=0.5)
                clock[0] += 0.06
            for value in run.validate([1.0, 3.0]):
                run.log(loss=value)
                clock[0] += 0.06
    assert display.shown == [
        ("begin", "Epoch 1/1"),
        ("draw", 1, 3, {"loss": 0.5}),
        ("draw", 3, 3, {"loss": 0.5}),
        ("draw", 3, 3, {"loss": 0.5}),
        ("validation", 2, 2, {"val_loss": 2.0}),
        ("end", 3, 3, {"loss": 0.5, "val_loss": 2.0}),
        ("close",),
    ]


def test_the_time_of_a_step_is_without_the_validation_and_the_time_left_without_the_first(
    display, clock, monkeypatch
):
    lines = []
    monkeypatch.setattr(display, "draw", lambda line, validation=None: lines.append(line))
    monkeypatch.setattr(display, "end", lines.append)
    with Run(verbose=1) as run:
        for _ in run.epochs():
            for i in run.train(range(4)):
                clock[0] += 1.0 if i else 10.0
                if i == 1:
                    for _ in run.validate(range(2)):
                        clock[0] += 5.0
            for _ in run.validate(range(2)):
                clock[0] += 5.0
    steps = [(line.done, line.step_s, line.elapsed_s) for line in lines]
    assert steps == [
        (1, 10.0, 10.0),
        *[(1, 10.0, 11.0)] * 2,  # what the second batch took is not known before its end
        (3, 1.0, 22.0),
        (4, 1.0, 23.0),
        *[(4, 1.0, 23.0)] * 2,
        (4, 13 / 4, 33.0),
    ]


def test_an_epoch_of_unknown_length_is_expected_to_be_as_long_as_the_one_before(display, clock):
    with Run(verbose=1, epochs=2) as run:
        for _ in run.epochs():
            list(run.train(iter([1, 2])))
            list(run.validate(iter([1])))
    begun = [shown for shown in display.shown if shown[0] == "draw"]
    assert begun == [("draw", 1, None, {}), ("draw", 1, 2, {})]


def test_a_run_that_goes_on_in_an_epoch_is_drawn_from_where_it_was(display, clock, tmp_path):
    def train(fail_at):
        with Run(verbose=1, directory=tmp_path) as run:
            for _ in run.epochs():
                for i in run.train(range(10)):
                    run.log(loss=0.5)
                    clock[0] += 1.0
                    if i == fail_at:
                        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(3)
    display.shown.clear()
    train(None)
    assert display.shown[:2] == [("begin", "Epoch 1/1"), ("draw", 1, 10, {"loss": 0.5})]


def test_a_prediction_inside_a_training_leaves_the_line_of_the_epoch_alone(display, clock):
    with Run(verbose=1) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                list(run.predict([1, 2]))
    assert [shown[0] for shown in display.shown] == ["begin", "draw", "end", "close"]


def test_a_terminal_that_is_closed_does_not_end_training(display, monkeypatch):
    def gone(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(display, "draw", gone)
    monkeypatch.setattr(display, "close", gone)
    with Run(verbose=1, epochs=2) as run:
        for _ in run.epochs():
            list(run.train([1]))
    assert display.shown == [("begin", "Epoch 1/2")]


def test_a_style_that_is_not_one_is_an_error_that_says_what_there_is():
    with pytest.raises(UnknownNameError, match=r"unknown style 'tdqm'. Did you mean 'tqdm'\?"):
        ProgbarLogger(style="tdqm")


def test_an_evaluation_has_a_line_of_its_own(display, clock):
    with Run(verbose=1, purpose="test", steps_per_epoch=2) as run:
        for value in run.validate([1.0, 3.0]):
            run.log(loss=value)
            clock[0] += 1
    assert display.shown == [
        ("begin", ""),
        ("draw", 1, 2, {"loss": 1.0}),
        ("draw", 2, 2, {"loss": 2.0}),
        ("end", 2, 2, {"loss": 2.0}),
        ("close",),
    ]


def test_a_prediction_shows_no_outputs(display, clock):
    with Run(verbose=1, purpose="predict") as run:
        for _ in run.predict([1]):
            run.report(lambda: {"outputs": [1, 2]}, steps=1, samples=1)
    assert display.shown == [("begin", ""), ("draw", 1, 1, {}), ("end", 1, 1, {}), ("close",)]


def test_where_nothing_is_drawn_live_a_batch_costs_nothing(capsys):
    with Run(verbose=2) as run:
        assert run.callbacks.idle("on_train_batch_end")


def test_a_run_has_one_unless_it_is_silent_or_was_given_one():
    kinds = [type(callback) for callback in Run(verbose=1).callbacks]
    assert kinds.count(ProgbarLogger) == 1
    assert ProgbarLogger not in [type(callback) for callback in Run(verbose=0).callbacks]
    mine = ProgbarLogger()
    assert [c for c in Run(verbose=1, callbacks=[mine]).callbacks if type(c) is ProgbarLogger] == [
        mine
    ]


def test_it_is_called_after_callbacks_that_add_to_the_logs(capsys):
    class Adds(Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["extra"] = 1.0

    ScriptedRun([1.0], monitor="loss", verbose=2).play(ProgbarLogger(), Adds())
    assert "extra: 1.0000" in capsys.readouterr().out


def test_one_that_was_used_in_training_shows_an_evaluation_too(display, clock):
    shared = ProgbarLogger()
    with Run(verbose=1, callbacks=[shared]) as run:
        for _ in run.epochs():
            list(run.train([1]))
    display.shown.clear()
    with Run(verbose=1, callbacks=[shared], purpose="test") as run:
        list(run.validate([1]))
    assert [shown[0] for shown in display.shown] == ["begin", "draw", "end", "close"]


def test_given_by_hand_to_a_silent_run_it_is_silent(capsys):
    ScriptedRun([1.0], verbose=0).play(ProgbarLogger())
    assert capsys.readouterr().out == ""
