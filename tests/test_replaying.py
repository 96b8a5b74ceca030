import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import callboard
from callboard import Callback, ConfigurationError, DataError, MetricNotFoundError, UnsupportedError
from callboard.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    JSONLLogger,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TensorBoard,
)
from callboard.checkpoint import CheckpointStore
from callboard.testing import ScriptedRun

LOSSES = [0.9, 0.7, 0.8, 0.75, 0.6, 0.65]


def test_decisions_and_what_they_cost():
    result = callboard.replay({"val_loss": LOSSES}, EarlyStopping(patience=2))
    assert [(d.action, d.epoch) for d in result.journal] == [("stopped", 3)]
    assert (result.stopped_epoch, result.epochs_saved) == (3, 2)
    assert result.loss_given_up == pytest.approx(0.1)
    assert repr(result) == "Replay(4 of 6 epochs, best val_loss 0.7, 0.1 given up)"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 4), st.integers(0, 4))
def test_decisions_are_those_of_a_run(losses, patience, plateau):
    def callbacks():
        return EarlyStopping(patience=9, min_delta=patience / 9), ReduceLROnPlateau(
            patience=plateau
        )

    played = ScriptedRun({"loss": losses, "val_loss": losses}).play(*callbacks())
    result = callboard.replay({"loss": losses, "val_loss": losses}, callbacks())
    assert [(d.action, d.epoch, d.cause) for d in result.journal] == [
        (d.action, d.epoch, d.cause) for d in played.journal
    ]
    assert len(result.epochs) == len(played.run.history.epoch)


def test_learning_rate_begins_with_the_recorded_one():
    run = {"val_loss": [1.0, 1.0, 1.0], "learning_rate": [0.5, 0.5, 0.5]}
    result = callboard.replay(run, ReduceLROnPlateau(patience=1, factor=0.5))
    assert result.learning_rates == [0.5, 0.5, 0.25]


def test_nothing_is_printed_written_or_changed(tmp_path, capsys):
    path = tmp_path / "new" / "best.pt"
    stopping = EarlyStopping(patience=2, verbose=1, restore_best_weights=True)
    saving = ModelCheckpoint(path, save_best_only=True, verbose=1)
    result = callboard.replay({"val_loss": LOSSES}, [stopping, saving])
    assert [d.epoch for d in result.journal.of("saved")] == [0, 1]
    assert {d.callback for d in result.journal} == {"EarlyStopping", "ModelCheckpoint"}
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert (stopping.best, saving.best) == (None, None)


@pytest.mark.filterwarnings("ignore:EarlyStopping monitors")
def test_epochs_without_validation_are_not_counted():
    values = [0.5, math.nan, math.nan, math.nan, 0.4]
    run = {"loss": [1.0] * 5, "val_loss": values}
    assert callboard.replay(run, EarlyStopping(patience=2)).epochs_saved == 0


def test_history_and_files_are_taken(tmp_path):
    log = tmp_path / "log.csv"
    played = ScriptedRun({"loss": LOSSES, "val_loss": LOSSES}).play(CSVLogger(log))
    for record in (played.run.history, log, str(tmp_path)):
        assert callboard.replay(record, EarlyStopping(patience=2)).stopped_epoch == 3


def test_what_cannot_be_replayed_is_explained(tmp_path):
    run = {"val_loss": LOSSES}
    with pytest.raises(ConfigurationError, match="needs a callback"):
        callboard.replay(run, [])
    with pytest.raises(MetricNotFoundError, match="Did you mean 'val_loss'"):
        callboard.replay(run, EarlyStopping("val_los"))
    with pytest.raises(UnsupportedError, match="CSVLogger writes files"):
        callboard.replay(run, CSVLogger(tmp_path / "a.csv"))
    for options in ({"save_freq": 100}, {"save_freq": "10 min"}):
        with pytest.raises(UnsupportedError, match="saves between the ends of epochs"):
            callboard.replay(run, ModelCheckpoint("a.pt", **options))
    with pytest.raises(UnsupportedError, match="saves between the ends of epochs"):
        callboard.replay(run, ModelCheckpoint(tmp_path / "folder", every_n_steps=5))
    with pytest.raises(DataError, match="empty"):
        callboard.replay({}, EarlyStopping())
    with pytest.raises(DataError, match="'loss' has 1 values for 6 epochs"):
        callboard.replay({**run, "loss": [1.0]}, EarlyStopping())


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [5]),
        ({"keep_last": 2}, [4, 5]),
        ({"save_top_k": 2}, [4, 5]),
        ({"save_top_k": 1, "every_n_epochs": 3}, [2, 4, 5]),
        ({"save_top_k": 3, "monitor": "loss", "mode": "max"}, [3, 4, 5]),
    ],
)
def test_folder_of_checkpoints_tells_which_would_be_kept(options, kept, tmp_path):
    run = {"val_loss": LOSSES, "loss": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}
    folder = tmp_path / "folder"
    result = callboard.replay(run, ModelCheckpoint(folder, **options))
    assert result.kept == [(str(folder), epoch) for epoch in kept]
    assert list(tmp_path.iterdir()) == []


def test_what_a_folder_would_keep_is_what_it_keeps(tmp_path):
    pytest.importorskip("torch")
    options = {"save_top_k": 2, "keep_last": 1, "every_n_epochs": 4}
    losses = [0.9, 0.7, 0.8, 0.75, 0.6, 0.65, 0.95, 0.7, 0.99]
    folder = tmp_path / "folder"
    ScriptedRun({"loss": losses, "val_loss": losses}).play(ModelCheckpoint(folder, **options))
    there = [each.epoch - 1 for each in CheckpointStore(folder).checkpoints()]
    asked = ModelCheckpoint(tmp_path / "other", **options)
    assert [epoch for _, epoch in callboard.replay({"val_loss": losses}, asked).kept] == there


def test_files_that_would_be_there_at_the_end():
    saving = ModelCheckpoint("{epoch}.pt", save_best_only=True)
    result = callboard.replay({"val_loss": LOSSES}, [saving, ModelCheckpoint("last.pt")])
    assert result.kept == [("1.pt", 0), ("last.pt", 5), ("2.pt", 1), ("5.pt", 4)]


def test_every_kind_of_record_is_taken(tmp_path):
    metrics = {"loss": LOSSES, "val_loss": LOSSES}
    backup = BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    loggers = [
        CSVLogger(tmp_path / "log.csv"),
        JSONLLogger(tmp_path / "log.jsonl"),
        TensorBoard(tmp_path / "events"),
        ModelCheckpoint(tmp_path / "store"),
    ]
    played = ScriptedRun(metrics).play(backup, *loggers)
    (tmp_path / "history.json").write_text(json.dumps(played.run.history.history))
    stopping = EarlyStopping(patience=2)
    for name in ("backup", "store", "log.csv", "log.jsonl", "events", "history.json", ""):
        assert callboard.replay(tmp_path / name, stopping).stopped_epoch == 3


def test_callbacks_of_ones_own_see_the_history():
    class StopsAtMean(Callback):
        def on_epoch_end(self, epoch, logs=None):
            if sum(self.run.history.history.get("val_loss", ())) > 2:  # of the epochs before
                self.run.stop("enough")

    assert callboard.replay({"val_loss": LOSSES}, StopsAtMean()).stopped_epoch == 3
