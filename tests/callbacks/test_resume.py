"""Every callback with state goes on, in a fresh object, exactly where another one stood."""

import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard import callbacks
from callboard.checkpoint.tree import join, split
from callboard.testing import ScriptedModel, ScriptedRun

NUMBER = st.one_of(st.none(), st.integers(0, 12).map(lambda n: n / 4), st.just(float("nan")))
VALUES = st.lists(NUMBER, min_size=2, max_size=12)
FACTORIES = {
    "EarlyStopping": lambda folder: callbacks.EarlyStopping(
        patience=2, min_delta=0.25, restore_best_weights=True
    ),
    "EarlyStopping with a baseline": lambda folder: callbacks.EarlyStopping(
        patience=3, baseline=1.0, start_from_epoch=1
    ),
    "ReduceLROnPlateau": lambda folder: callbacks.ReduceLROnPlateau(
        factor=0.5, patience=1, cooldown=2
    ),
    "ModelCheckpoint": lambda folder: callbacks.ModelCheckpoint("{epoch}", save_best_only=True),
    "ModelCheckpoint every 2 epochs": lambda folder: callbacks.ModelCheckpoint(
        "{epoch}", save_freq="2 epochs"
    ),
    "ModelCheckpoint every 3 steps": lambda folder: callbacks.ModelCheckpoint(
        "{epoch}-{batch}", save_freq=3
    ),
    "CSVLogger": lambda folder: callbacks.CSVLogger(folder / "log.csv"),
    "JSONLLogger": lambda folder: callbacks.JSONLLogger(folder / "log.jsonl"),
    "JSONLLogger every 3 batches": lambda folder: callbacks.JSONLLogger(
        folder / "log.jsonl", update_freq=3
    ),
    "History": lambda folder: callbacks.History(),
}


def play(callback, values, model, state=None, begin=0, steps=0):
    """Play an epoch range with a callback; return the run."""
    script = ScriptedRun({"loss": [0.5] * len(values), "val_loss": values}, batches=2)
    script.initial_epoch = begin
    script.model = model
    if state is not None:
        callback.load_state_dict(state)

    class Resumed(callbacks.Callback):
        order = -100

        def on_train_begin(self, logs=None):
            self.run.progress.step = steps

    return script.play(Resumed(), callback).run


def decisions(*runs):
    return [
        (d.action, d.epoch, d.step, d.cause)
        for run in runs
        for d in run.journal
        if d.action != "restored"
    ]


@pytest.mark.filterwarnings("ignore:.*there was no validation")
@pytest.mark.parametrize("kind", FACTORIES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES)
def test_a_run_that_was_cut_at_any_epoch_takes_the_same_decisions(tmp_path, kind, values):
    whole_model = ScriptedModel(1.0)
    whole_callback = FACTORIES[kind](tmp_path)
    whole = play(whole_callback, values, whole_model)
    content = read(tmp_path)
    done = len(whole.history.epoch)
    for cut in range(1, done):
        clear(tmp_path)
        model = ScriptedModel(1.0)
        first_callback = FACTORIES[kind](tmp_path)
        first = play(first_callback, values[:cut], model)
        if first.stop_reason:
            continue
        state = by_way_of_a_file(first_callback.state_dict())
        second_callback = FACTORIES[kind](tmp_path)
        second = play(second_callback, values, model, state, cut, first.progress.step)
        assert decisions(first, second) == decisions(whole)
        assert second.stop_reason == whole.stop_reason
        assert model.saved == whole_model.saved
        assert model.learning_rate == whole_model.learning_rate
        assert model.weight == whole_model.weight
        assert read(tmp_path) == content
        np.testing.assert_equal(
            without_arrays(second_callback.state_dict()),
            without_arrays(whole_callback.state_dict()),
        )


def by_way_of_a_file(state):
    text, arrays = split(state)
    return join(json.dumps(json.loads(text)), {name: a.copy() for name, a in arrays.items()})


def without_arrays(state):
    return json.loads(split(state)[0])


def read(folder):
    """Return the files' contents, without the times of the day in them."""
    clock = re.compile(r'"time": [\d.]+')
    return {path.name: clock.sub("", path.read_text()) for path in folder.iterdir()}


def clear(folder):
    for path in folder.iterdir():
        path.unlink()
