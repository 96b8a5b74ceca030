import pytest

from callboard.cli import main


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,val_loss\n0,0.9\n1,0.7\n2,0.8\n3,0.75\n4,0.6\n5,0.65\n")
    return str(path)


def test_decisions_are_told_with_what_they_cost(log, capsys):
    assert main(["replay", log, "--early-stopping", "patience=2", "monitor=val_loss"]) == 0
    assert capsys.readouterr().out == (
        "epoch 4: EarlyStopping stopped: val_loss did not improve on 0.7 for 2 epochs\n"
        "4 of 6 epochs would have taken place; their best val_loss is 0.7 (0.6 came later, so 0.1 "
        "given up).\n"
    )


def test_sweep_is_a_table(log, capsys):
    assert main(["replay", log, "--patience", "1:3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["1", "3", "3", "0.7", "0.1"],
        ["2", "4", "2", "0.7", "0.1"],
        ["3", "6", "0", "0.6", "0"],
    ]
    assert lines[4] == "The smallest patience that gives nothing up: 3 (0 epochs saved)."


def test_every_epoch_is_a_table(log, capsys):
    arguments = ["--reduce-lr", "patience=1", "factor=0.5", "--checkpoint", "save_best_only=true"]
    assert main(["replay", log, *arguments, "--every-epoch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "0.001  ModelCheckpoint saved" in lines[1]
    assert "ReduceLROnPlateau reduced, ModelCheckpoint skipped" in lines[3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--early-stopping", "patienc=3"], "Did you mean 'patience'?"),
        (["--early-stopping", "3"], "NAME=VALUE"),
        (["--early-stopping", "monitor=val_los"], "Did you mean 'val_loss'?"),
        (["--early-stopping", "patience=2.5"], "patience must be a whole number"),
        (["--reduce-lr", "factor=half"], "factor must be a number; got 'half'"),
        (["--checkpoint", "save_best_only=maybe"], "must be true or false; got 'maybe'"),
        (["--patience", "5:2"], "a range such as 1:20"),
        (["--patience", "1:2", "--early-stopping", "patience=3"], "give the patience once"),
    ],
)
def test_wrong_arguments_are_explained_in_one_line(arguments, said, log, capsys):
    assert main(["replay", log, *arguments]) != 0
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_metric_that_is_not_there_is_told_with_what_to_pass(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("epoch,loss\n0,0.5\n")
    assert main(["replay", str(tmp_path / "log.csv")]) == 1
    said = capsys.readouterr().err
    assert "metric 'val_loss' was not logged. Did you mean 'loss'? Logged: loss." in said
    assert "--early-stopping monitor=loss" in said
    assert "validation_data" not in said


def test_records_without_a_finite_value_are_told(tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("epoch,val_loss\n0,nan\n1,inf\n")
    for options in ([], ["--patience", "1:2"]):
        assert main(["replay", str(log), *options]) == 0
        said = capsys.readouterr().out
        assert "o epoch of the record has a finite val_loss." in said
        assert "whole record" not in said
    log.write_text("epoch,val_acc,val_loss\n0,0.5,nan\n1,0.5,0.5\n")
    assert main(["replay", str(log), "--early-stopping", "patience=1"]) == 0
    assert "none of them has a finite val_loss (0.5 came later)." in capsys.readouterr().out


def test_checkpoints_that_would_be_kept_are_told(tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("epoch,val_loss\n0,0.3\n1,0.5\n2,0.4\n")
    assert main(["replay", str(log), "--checkpoint", "save_top_k=1"]) == 0
    assert "Checkpoints at the end: of epoch 1, 3.\n" in capsys.readouterr().out
