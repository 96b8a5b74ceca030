import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import callboard
from callboard import ConfigurationError, DataError, MetricNotFoundError, UnsupportedError
from callboard.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
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
    with pytest.raises(UnsupportedError, match="folder of checkpoints"):
        callboard.replay(run, ModelCheckpoint(tmp_path / "folder"))
    with pytest.raises(DataError, match="empty"):
        callboard.replay({}, EarlyStopping())
    with pytest.raises(DataError, match="'loss' has 1 values for 6 epochs"):
        callboard.replay({**run, "loss": [1.0]}, EarlyStopping())
