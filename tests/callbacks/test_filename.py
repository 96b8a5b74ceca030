import math
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard import ConfigurationError, MetricNotFoundError
from callboard.callbacks.filename import Filename

TEXT = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=10)


@given(TEXT, TEXT, st.integers(1, 10_000), st.floats())
def test_placeholders_are_filled_as_str_format_fills_them(before, after, epoch, loss):
    template = f"{before}{{epoch:03d}}{after}{{val_loss:.3f}}"
    filled = Filename(template).fill(epoch=epoch, logs={"val_loss": loss})
    assert filled == f"{before}{epoch:03d}{after}{loss:.3f}"


@given(st.text(st.sampled_from("{}ab.[]!:0d"), max_size=12))
def test_any_template_is_understood_or_refused_at_once(template):
    try:
        name = Filename(template)
    except ConfigurationError:
        return
    logs = {field: 0.5 for _, field, _, _ in string.Formatter().parse(template) if field}
    assert isinstance(name.fill(epoch=1, logs=logs), str)


@pytest.mark.parametrize(
    "template",
    [
        "{}",
        "{0}",
        "{epoch.__class__}",
        "{loss[0]}",
        "{epoch",
        "epoch}",
        "{a:{b.real}}",
        "{a-b}",
        "{epoch:q}",
        "{loss:d}",
        "{a!x}",
    ],
)
def test_what_can_never_be_filled_is_an_error_at_construction(template):
    with pytest.raises(ConfigurationError, match="file name"):
        Filename(template)


def test_braces_may_be_part_of_the_name():
    assert Filename("{{a}}-{epoch}").fill(epoch=3, logs={}) == "{a}-3"


def test_names_of_metrics_may_have_a_slash():
    assert Filename("{head/loss:.1f}").fill(epoch=1, logs={"head/loss": 0.25}) == "0.2"


def test_a_metric_of_a_validation_that_did_not_take_place_is_nan():
    name = Filename("{val_loss:.2f}.pt")
    assert name.fill(epoch=1, logs={}) == "nan.pt"
    assert name.fill(epoch=1, logs={"val_loss": math.inf}) == "inf.pt"


def test_another_metric_that_was_not_logged_is_an_error_that_names_it():
    with pytest.raises(MetricNotFoundError, match=r"'los' was not logged. Did you mean 'loss'"):
        Filename("{los}.pt").fill(epoch=1, logs={"loss": 1.0})


def test_the_batch_is_known_only_when_saving_by_batches():
    assert Filename("{batch:02d}", batch=True).fill(epoch=1, batch=7, logs={}) == "07"
    Filename("{batch:02d}", batch=True).check(frozenset())
    with pytest.raises(ConfigurationError, match=r"has \{batch\}"):
        Filename("{batch}").check(None)


def test_names_are_checked_where_they_are_known():
    Filename("{anything}").check(None)
    Filename("{loss}").check(frozenset(["loss"]))
    with pytest.raises(MetricNotFoundError):
        Filename("{acc}").check(frozenset(["loss"]))


@pytest.mark.parametrize(
    ("template", "certain"),
    [
        ("a/model.pt", "a/model.pt"),
        ("a/{epoch}.pt", "a/file"),
        ("a/{epoch}/b/model.pt", "a/file"),
        ("{epoch}.pt", "file"),
        ("/{epoch}/x", "/file"),
    ],
)
def test_the_part_of_the_path_that_is_certain(template, certain):
    assert Filename(template).certain().as_posix() == certain
