import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image, style

from callboard import DataError, UnknownNameError, UnsupportedError
from callboard.comparison import comparison_of
from callboard.curves import best_epoch_of, figure_of, write_figure
from callboard.recorded import Recording

RUN = {
    "accuracy": [0.8, 0.9, 0.95],
    "learning_rate": [1e-3, 1e-3, 1e-5],
    "loss": [0.9, 0.5, 0.3],
    "val_accuracy": [0.8, 0.85, 0.84],
    "val_loss": [0.8, 0.6, 0.7],
}


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def line(axes, label):
    """The y values of a labeled line."""
    return next(each for each in axes.lines if each.get_label() == label).get_ydata()


def marked(axes):
    """The points that are marked with a ring."""
    return [
        (each.get_xdata()[0], each.get_ydata()[0])
        for each in axes.lines
        if each.get_markerfacecolor() == "white"
    ]


def test_each_metric_has_a_panel_loss_first_and_learning_rate_last():
    assert list(panels(figure_of(RUN))) == ["loss", "accuracy", "learning rate"]


def test_training_and_validation_are_in_one_panel():
    axes = panels(figure_of(RUN))["loss"]
    assert list(line(axes, "training")) == RUN["loss"]
    assert list(line(axes, "validation")) == RUN["val_loss"]


def test_best_epoch_of_the_validation_is_marked_in_every_panel():
    figure = figure_of(RUN, epochs=[4, 5, 6], title="Adam")
    shown = panels(figure)
    assert marked(shown["loss"]) == [(6, 0.6)]  # shown from 1
    assert marked(shown["accuracy"]) == [(6, 0.85)]
    assert figure.get_suptitle() == "Adam   |   best epoch 6: val_loss 0.6000"


def test_without_validation_the_loss_decides():
    assert best_epoch_of({"loss": [3, 1, 2]}) == (1, "loss", 1.0)


def test_a_validation_that_was_never_finite_decides_nothing():
    assert best_epoch_of({"loss": [3, 1], "val_loss": [math.nan, math.inf]}) == (1, "loss", 1.0)


def test_without_a_loss_there_is_no_best_epoch():
    figure = figure_of({"reward": [1.0, 2.0]})
    assert marked(panels(figure)["reward"]) == []
    assert figure.get_suptitle() == ""


@pytest.mark.parametrize(
    ("rates", "scale"), [([1e-2, 1e-3], "log"), ([1e-2, 2e-3], "linear"), ([0.0, 0.0], "linear")]
)
def test_learning_rate_is_logarithmic_from_a_factor_of_ten(rates, scale):
    axes = panels(figure_of({"loss": [1, 2], "learning_rate": rates}))["learning rate"]
    assert axes.get_yscale() == scale


def test_gaps_are_bridged_by_a_dotted_line():
    axes = panels(figure_of({"loss": [1, 2, 3, 4], "val_loss": [5, math.nan, 3, math.inf]}))["loss"]
    assert [list(each.get_xdata()) for each in axes.lines if each.get_linestyle() == ":"] == [
        [1, 2, 3, 4],
        [1, 3],
    ]
    assert np.isnan(line(axes, "validation")).tolist() == [False, True, False, True]


def test_metric_without_a_finite_value_says_so():
    axes = panels(figure_of({"loss": [math.nan, math.nan]}))["loss"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "training (no finite value)"
    ]


def test_long_runs_have_lines_without_markers():
    axes = panels(figure_of({"loss": list(range(200, 0, -1))}))["loss"]
    assert axes.lines[1].get_marker() == ""


@pytest.mark.parametrize("name", ["default", "dark_background"])
def test_image_is_1000_pixels_wide_on_white_whatever_the_style(name, tmp_path):
    with style.context(name):
        write_figure(figure_of(RUN), tmp_path / "curves.png")
    pixels = image.imread(tmp_path / "curves.png")
    assert pixels.shape[1] == 1000
    assert pixels[0, 0, :3].tolist() == [1, 1, 1]
    assert pixels[..., :3].mean() > 0.9


def test_panels_do_not_leave_the_image():
    figure = figure_of(RUN | {"val_f1": [0.1, 0.2, 0.3]}, title="T")
    figure.draw_without_rendering()
    edges = figure.bbox
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0
        assert box.x1 <= edges.x1
        assert box.y0 >= 0
        assert box.y1 <= edges.y1


@pytest.mark.parametrize(
    ("history", "epochs", "said"),
    [
        ({}, None, "no metrics to draw"),
        ({"loss": []}, None, "no metrics to draw"),
        ({"loss": [1, 2], "acc": [1]}, None, "'acc' has 1 values for 2 epochs"),
        ({"loss": [1, 2]}, [0], "'loss' has 2 values for 1 epochs"),
        ({"loss": [[1, 2]]}, None, "one for each epoch"),
        ({"loss": ["low"]}, None, "one for each epoch"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(history, epochs, said):
    with pytest.raises(DataError, match=said):
        figure_of(history, epochs)


def test_missing_matplotlib_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'callboard\[plot\]'"):
        figure_of(RUN)


def test_unknown_format_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(UnknownNameError, match=r"Did you mean '\.png'"):
        write_figure(figure_of(RUN), tmp_path / "curves.pngg")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=10)
@given(
    values=st.lists(st.floats(width=32) | st.just(math.nan), min_size=1, max_size=20),
    rates=st.floats(0, 1e30),
)
def test_any_numbers_can_be_drawn(values, rates):
    history = {"loss": values, "val_loss": values[::-1], "learning_rate": [rates] * len(values)}
    figure_of(history).draw_without_rendering()


def test_value_of_the_best_epoch_stands_clear_of_the_curves():
    # The training crosses right above the best validation, so the value stands below it.
    history = {"loss": [0.8, 0.5, 0.45, 0.4, 0.3], "val_loss": [0.5, 0.4, 0.42, 0.43, 0.44]}
    (label,) = figure_of(history).axes[0].texts
    assert (label.get_ha(), label.get_va()) == ("left", "top")


def test_comparison_has_one_legend_that_says_what_is_dashed():
    runs = [
        Recording("a", [0, 1], {"loss": [0.5, 0.4], "val_loss": [0.5, 0.4]}),
        Recording("b", [0, 1], {"loss": [0.5, 0.4]}),
    ]
    (legend,) = comparison_of(runs).legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "training"]
    (legend,) = comparison_of(runs[1:]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["b"]


def test_rates_that_differ_much_are_compared_on_a_logarithmic_axis():
    runs = [Recording(str(rate), [0], {"learning_rate": [rate]}) for rate in (0.1, 0.001)]
    assert comparison_of(runs).axes[0].get_yscale() == "log"
    assert comparison_of(runs[:1]).axes[0].get_yscale() == "linear"
