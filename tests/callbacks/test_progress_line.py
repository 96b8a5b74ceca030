import math

import numpy as np
import pytest

from callboard.callbacks.progress_line import ProgressLine


@pytest.mark.parametrize(
    ("done", "total", "bar"),
    [(0, 4, "─" * 20), (1, 4, "━" * 5 + "─" * 15), (4, 4, "━" * 20), (9, 4, "━" * 20)],
)
def test_the_bar_shows_what_is_done(done, total, bar):
    assert ProgressLine(done, total).live() == f" {done}/4 {bar}  0s 0us/step"


def test_counts_are_aligned_so_that_the_line_does_not_jump():
    assert ProgressLine(7, 1000).live().startswith("    7/1000 ")
    assert len(ProgressLine(7, 1000).live()) == len(ProgressLine(999, 1000).live())


def test_a_bar_of_other_characters():
    assert ProgressLine(2, 4).live(bar="=.") == " 2/4 ==========..........  0s 0us/step"


def test_an_unknown_length_has_no_bar():
    line = ProgressLine(7, None, elapsed_s=12.5)
    assert line.live() == "7/unknown 12s 0us/step"
    assert line.final() == "7/7 - 12s - 0us/step"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1:00"), (125, "2:05"), (3600, "1:00:00"), (7325, "2:02:05")],
)
def test_times(seconds, text):
    assert ProgressLine(1, 1, elapsed_s=seconds).final().split(" - ")[1] == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2e-6, "2us/step"), (0.0025, "2ms/step"), (0.5, "500ms/step"), (1.4, "1s/step")],
)
def test_times_of_a_step(seconds, text):
    assert ProgressLine(1, 1, step_s=seconds).final().split(" - ")[2] == text


def test_the_time_that_is_left_is_that_of_the_steps_that_are_left():
    assert " 3:20 " in ProgressLine(100, 300, elapsed_s=100, step_s=1.0).live()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.2500"),
        (0.0, "0.0000"),
        (-0.5, "-0.5000"),
        (5e-5, "5.0000e-05"),
        (-5e-5, "-5.0000e-05"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        ("text", "text"),
        (np.array([1, 2]), "[1 2]"),
    ],
)
def test_values(value, text):
    line = ProgressLine(1, 1, metrics={"m": value}).final()
    assert line.split(" - ", 3)[3] == f"m: {text}"
