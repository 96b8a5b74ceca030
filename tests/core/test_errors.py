import inspect
import pickle

import pytest

import callboard
from callboard import CallboardError, MetricNotFoundError, UnknownNameError
from callboard._core import errors


def test_every_error_is_exported_and_also_a_built_in_one_that_keras_users_catch():
    ours = {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, CallboardError)
    }
    assert {name: value for name, value in vars(callboard).items() if name in ours} == ours
    for error in set(ours.values()) - {CallboardError}:
        built_in = [base for base in error.__mro__ if base.__module__ == "builtins"]
        assert built_in[0] is not Exception, error


def test_the_tree_in_the_module_is_the_tree_there_is():
    for name, value in vars(errors).items():
        if inspect.isclass(value) and issubclass(value, CallboardError):
            line = next(x for x in errors.__doc__.splitlines() if name in x)
            for base in value.__bases__:
                if base.__module__ == "builtins" and base is not Exception:
                    assert f"({base.__name__})" in line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ADM", "unknown optimizer 'ADM'. Did you mean 'Adam'? Allowed: Adam, sgd"),
        ("xyz", "unknown optimizer 'xyz'. Allowed: Adam, sgd"),
        (None, "unknown optimizer None. Allowed: Adam, sgd"),
    ],
)
def test_an_unknown_name_names_the_nearest_and_those_that_are_allowed(given, message):
    assert str(UnknownNameError("optimizer", given, ["sgd", "Adam"])) == message


def test_a_missing_metric_names_what_was_logged_and_what_to_do():
    assert str(MetricNotFoundError("acc", [])) == "metric 'acc' was not logged. Logged: nothing"
    error = MetricNotFoundError("val_los", ["val_loss", "loss"], "Log it")
    assert str(error) == (
        "metric 'val_los' was not logged. Did you mean 'val_loss'? Logged: loss, val_loss. Log it"
    )


def test_errors_go_from_process_to_process_with_message_and_notes():
    for error in (MetricNotFoundError("a", ["b"]), UnknownNameError("mode", "mix", ["min"])):
        error.add_note("raised in X.on_epoch_end")
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert (str(copy), copy.__notes__) == (str(error), error.__notes__)
