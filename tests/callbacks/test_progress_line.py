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


class Unspeakable:
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.array([[1, 2], [3, 4]]), "[[1 2] [3 4]]"),
        ("two\nlines\x1b[2J", "two lines\\x1b[2J"),
        ("x" * 99, "x" * 38 + ".."),
        (Unspeakable(), "<Unspeakable>"),
        (None, "None"),
        (1 + 2j, "(1+2j)"),
    ],
)
def test_whatever_a_value_is_it_stays_one_short_line(value, text):
    assert ProgressLine(1, 1, metrics={"m": value}).final().endswith(f" - m: {text}")


def test_names_stay_on_the_line():
    assert ProgressLine(metrics={"a\nb": 1.0}).texts == {"a b": "1.0000"}


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, "  60/120 ━━━━━━━━━━──────────  3s 50ms/step - loss: 0.2500"),
        (45, "  60/120 ━━━━━━━━━━──────────  3s 50ms/step\n  loss: 0.2500"),
        (40, "  60/120 ━━━━━━━━─────────  3s 50ms/step\n  loss: 0.2500"),
        (25, "  60/120 ━━━━━━──────  3s\n  loss: 0.2500"),
        (15, "  60/120  3s\n  loss: 0.2500"),
        (10, "  60/120..\n  loss:.."),
    ],
)
def test_what_does_not_fit_is_shortened_in_order_of_what_matters_least(width, shown):
    line = ProgressLine(60, 120, elapsed_s=3, step_s=0.05, metrics={"loss": 0.25})
    text = line.live(width=width)
    assert all(len(row) <= width for row in text.split("\n"))
    assert text == shown


def test_long_names_are_cut_and_their_values_are_seen():
    line = ProgressLine(1, None, metrics={"a_name_that_is_long": 0.25, "验证集损失很长": 1.5})
    assert line.live(width=20) == "1/unknown  0s\n  a_name_t..: 0.2500\n  验证集损..: 1.5000"
    assert "a_name_that_is_long: 0.2500" in line.final(width=20)


def test_the_line_in_the_middle_of_a_long_pass():
    line = ProgressLine(60, 120, elapsed_s=61, step_s=2, metrics={"loss": 0.25})
    assert line.interim() == "60/120 - 1:01 - 2:00 left - 2s/step - loss: 0.2500"


def test_a_pass_that_is_done_shows_the_time_it_took():
    assert ProgressLine(4, 4, elapsed_s=9, step_s=2).live() == f" 4/4 {'━' * 20}  9s 2s/step"


def test_a_label_stands_in_front():
    line = ProgressLine(1, 2, elapsed_s=9, label="validation")
    assert line.live().startswith(" validation 1/2 ━")
    line.total = None
    assert line.live().startswith("validation 1/unknown")
