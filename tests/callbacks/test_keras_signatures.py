"""Names, arguments, methods and attributes are those of the installed Keras."""

import inspect
import os

import pytest

from callboard import CallboardError, callbacks

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

CLASSES = sorted(
    name
    for name, member in vars(keras.callbacks).items()
    if inspect.isclass(member) and issubclass(member, keras.callbacks.Callback)
)

# What Keras's classes have besides hooks without an underscore, and is its own machinery.
INTERNAL = {"TensorBoard": {"keras_model_summary"}}

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


def arguments(function):
    return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]


def described(parameters):
    return [(p.name, p.default, p.kind) for p in parameters]


def test_every_callback_of_keras_is_there():
    assert len(CLASSES) == 16
    assert set(callbacks.__all__) >= set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_are_those_of_keras_and_ours_come_after_by_keyword(name):
    theirs = arguments(getattr(keras.callbacks, name).__init__)
    if name == "ReduceLROnPlateau":  # **kwargs, which swallows misspelt names
        theirs = theirs[:-1]
    if name == "LambdaCallback":  # **kwargs has another name
        theirs[-1] = theirs[-1].replace(name="hooks")
    ours = arguments(getattr(callbacks, name).__init__)
    if getattr(callbacks, name).__init__ is object.__init__:
        ours = []
    by_place = [p for p in ours if p.kind is not KEYWORD_ONLY]
    assert described(by_place) == described(theirs)
    added = [p for p in ours if p.kind is KEYWORD_ONLY]
    assert all(p.default is not p.empty for p in added)


@pytest.mark.parametrize("name", CLASSES)
def test_public_methods_of_keras_are_there_with_the_same_arguments(name):
    theirs, ours = getattr(keras.callbacks, name), getattr(callbacks, name)
    for method, function in inspect.getmembers(theirs, inspect.isfunction):
        if method.startswith("_") or method in INTERNAL.get(name, ()):
            continue
        own = getattr(ours, method, None)
        assert callable(own), method
        assert [p.name for p in arguments(own)][: len(arguments(function))] == [
            p.name for p in arguments(function)
        ], method


MADE = {
    "BackupAndRestore": ("b",),
    "CSVLogger": ("log.csv",),
    "LearningRateScheduler": (lambda epoch: 0.1,),
    "ModelCheckpoint": ("w.weights.h5", "val_loss", 0, False, True),
    "OrbaxCheckpoint": ("orbax",),
}

# Attributes that users read and set.
ATTRIBUTES = {
    "BackupAndRestore": "backup_dir save_freq double_checkpoint delete_checkpoint",
    "CSVLogger": "filename append",
    "CallbackList": "callbacks",
    "EarlyStopping": (
        "monitor mode patience verbose baseline wait stopped_epoch restore_best_weights best "
        "best_weights start_from_epoch min_delta"
    ),
    "History": "history",
    "LearningRateScheduler": "schedule verbose",
    "ModelCheckpoint": (
        "monitor mode verbose filepath save_best_only save_weights_only save_freq best"
    ),
    "OrbaxCheckpoint": (
        "directory monitor verbose save_best_only save_freq max_to_keep save_on_background "
        "save_weights_only best"
    ),
    "ReduceLROnPlateau": (
        "monitor mode factor min_delta cooldown cooldown_counter wait patience verbose min_lr best"
    ),
    "RemoteMonitor": "root path field headers send_as_json",
    "SwapEMAWeights": "swap_on_epoch",
    "TerminateOnNaN": "raise_error",
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_have_the_values_that_they_have_in_keras(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    given = MADE.get(name, ())
    if name == "OrbaxCheckpoint":
        given = (str(tmp_path / "orbax"),)
    theirs, ours = (getattr(module, name)(*given) for module in (keras.callbacks, callbacks))
    for attribute in ATTRIBUTES[name].split():
        expected = getattr(theirs, attribute)
        if name in {"EarlyStopping", "ReduceLROnPlateau"} and attribute in {"wait", "patience"}:
            setattr(ours, attribute, 7)
            assert getattr(ours, attribute) == 7
            setattr(ours, attribute, expected)
        if attribute == "callbacks":
            expected = tuple(expected)
        assert getattr(ours, attribute) == expected, attribute


def test_model_and_params_may_be_set_as_keras_does():
    callback = callbacks.Callback()
    callback.set_params({"epochs": 3})
    callback.set_model("net")
    assert (callback.model, callback.params) == ("net", {"epochs": 3})


def test_monitor_op_says_which_of_two_values_is_better():
    for mode, expected in (("min", True), ("max", False)):
        theirs = keras.callbacks.EarlyStopping("loss", mode=mode)
        theirs._set_monitor_op()
        ours = callbacks.EarlyStopping("loss", mode=mode)
        assert bool(theirs.monitor_op(1.0, 2.0)) is ours.monitor_op(1.0, 2.0) is expected


WRONG = {
    "number": ["0.1", None, float("nan"), -1, [1]],
    "whole": ["3", None, 1.5, float("nan"), -1, True],
    "flag": ["yes", 2, None, 0.5],
    "verbosity": ["1", 7, None, 0.5],
    "text": [3, None, b"x", ""],
    "path": [3, None, "", ["a"]],
    "threshold": ["0.5", float("nan"), [1]],
}
TYPES = {
    "EarlyStopping": {
        "monitor": "text",
        "patience": "whole",
        "verbose": "verbosity",
        "mode": "text",
        "baseline": "threshold",
        "restore_best_weights": "flag",
        "start_from_epoch": "whole",
    },
    "ReduceLROnPlateau": {
        "monitor": "text",
        "factor": "number",
        "patience": "whole",
        "verbose": "verbosity",
        "mode": "text",
        "cooldown": "whole",
        "min_lr": "number",
    },
    "ModelCheckpoint": {
        "filepath": "path",
        "monitor": "text",
        "verbose": "verbosity",
        "save_best_only": "flag",
        "save_weights_only": "flag",
        "mode": "text",
        "initial_value_threshold": "threshold",
        "save_top_k": "whole",
        "keep_last": "whole",
        "every_n_epochs": "whole",
        "every_n_steps": "whole",
        "every_seconds": "number",
        "save_on_exception": "flag",
    },
    "CSVLogger": {"filename": "path", "separator": "text", "append": "flag"},
    "BackupAndRestore": {
        "backup_dir": "path",
        "double_checkpoint": "flag",
        "delete_checkpoint": "flag",
        "when_busy": "text",
    },
    "LearningRateScheduler": {"schedule": "text", "verbose": "verbosity"},
    "TerminateOnNaN": {"raise_error": "flag", "gradients": "flag"},
    "RemoteMonitor": {
        "root": "text",
        "path": "whole",
        "field": "text",
        "headers": "whole",
        "send_as_json": "flag",
        "timeout_s": "number",
        "retries": "whole",
    },
    "SwapEMAWeights": {"swap_on_epoch": "flag", "momentum": "number"},
    "OrbaxCheckpoint": {
        "directory": "path",
        "monitor": "text",
        "verbose": "verbosity",
        "save_best_only": "flag",
        "mode": "text",
        "initial_value_threshold": "threshold",
        "max_to_keep": "whole",
        "save_on_background": "flag",
        "save_weights_only": "flag",
    },
    "LambdaCallback": {"on_epoch_end": "text", "on_train_begin": "whole"},
    "History": {},
    "ProgbarLogger": {},
    "Callback": {},
    "CallbackList": {},
}
NONE_IS_ALLOWED = {"headers", "momentum", "max_to_keep", "on_epoch_end", "on_train_begin"}
EMPTY_IS_ALLOWED = {"path"}


@pytest.mark.parametrize(
    ("name", "argument", "value"),
    [
        pytest.param(name, argument, value, id=f"{name}-{argument}-{value!r}")
        for name, kinds in TYPES.items()
        for argument, kind in kinds.items()
        for value in WRONG[kind]
        if not (value is None and argument in NONE_IS_ALLOWED)
        and not (argument == "path" and value == "3")
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_argument(tmp_path, name, argument, value):
    given = MADE.get(name, ())
    if name == "ModelCheckpoint":
        given = ("folder/",) if argument.startswith(("every", "keep", "save_top")) else given[:1]
    if name == "OrbaxCheckpoint":
        given = (str(tmp_path),)
    cls = getattr(callbacks, name)
    bound = dict(zip(inspect.signature(cls.__init__).parameters, ("self", *given), strict=False))
    del bound["self"]
    with pytest.raises((ValueError, TypeError), match=argument.split("_", maxsplit=1)[0]) as caught:
        cls(**bound | {argument: value})
    assert isinstance(caught.value, CallboardError)


def test_every_class_is_in_the_table_of_wrong_values():
    assert set(TYPES) | {"TensorBoard"} == set(CLASSES)


def test_min_delta_of_any_sign_is_a_number():
    for cls in (callbacks.EarlyStopping, callbacks.ReduceLROnPlateau):
        assert cls(min_delta=-0.5).min_delta == 0.5
        for value in ("0.5", float("nan"), True, None):
            with pytest.raises(ValueError, match="min_delta"):
                cls(min_delta=value)
