import math

import pytest

from callboard._core.errors import FileFormatError
from callboard.callbacks import CSVLogger, JSONLLogger
from callboard.cli import main
from callboard.cli.training_log import read_training_log
from callboard.testing import ScriptedRun

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def log_of(tmp_path):
    """Write a log's text to a file."""

    def write(text):
        path = tmp_path / "log.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def same(values, expected):
    pairs = zip(values, expected, strict=True)
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)


# ---- the command ---------------------------------------------------------------------------------


def test_a_log_becomes_an_image_beside_it(log_of, capsys):
    log = log_of("epoch,loss,val_loss\n0,0.9,0.8\n1,0.5,0.6\n")
    assert main(["plot", str(log)]) == 0
    image = log.with_suffix(".png")
    assert capsys.readouterr() == (f"wrote {image}\n", "")
    assert image.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", PNG), ("b.svg", b"<?xml"), ("c.PDF", b"%PDF")]
)
def test_the_suffix_says_the_format(name, begins, log_of, tmp_path):
    log = log_of("epoch,loss\n0,0.9\n1,0.5\n")
    image = tmp_path / "new" / name
    assert main(["plot", str(log), "-o", str(image), "--title", "Adam"]) == 0
    assert image.read_bytes().startswith(begins)


def test_columns_of_other_things_are_named_and_left_out(log_of, capsys):
    log = log_of('epoch,loss,note,confusion\n0,0.9,warm,"[[1, 2]]"\n')
    assert main(["plot", str(log)]) == 0
    assert capsys.readouterr().err == "left out, not numbers: note, confusion\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "first column should be 'epoch'"),
        ("loss,epoch\n1,2\n", "its first line is 'loss,epoch'"),
        ("x" * 500, "x" * 40 + "...'"),
        ("epoch,loss\n", "has no epochs yet"),
        ("epoch\n0\n", "has no metrics yet"),
        ("epoch,loss\none,2\n", "'one' in the column 'epoch'"),
        ("epoch,loss\n0,1,2\n", "3 values in the row of epoch 0"),
        ("epoch,note\n0,warm\n", "no column of numbers"),
        ('{"epoch": 0, "note": "warm"}\n', "no column of numbers"),
        ('{"epoch": 0, "step": 5}\n', "has no metrics yet"),
        ('{"loss": 1}\n', "line 1 should be an object with 'epoch'"),
        ('{"epoch": 0}\n[1]\n', "line 2 should be an object with 'epoch', and is '[1]'"),
        ('{"epoch": "one"}\n', "'one' in the column 'epoch'"),
        (b"\x89PNG\xff\xfe", "no text file"),
        ("epoch,loss\n0," + "1" * 200_000, "no CSV file"),
    ],
)
def test_what_is_no_log_is_one_line_and_status_1(text, said, log_of, capsys):
    assert main(["plot", str(log_of(text))]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_image_that_cannot_be_written_is_named(log_of, capsys, tmp_path):
    (tmp_path / "folder.png").mkdir()
    arguments = ["plot", str(log_of("epoch,loss\n0,1\n")), "-o", str(tmp_path / "folder.png")]
    assert main(arguments) == 1
    assert "is a directory" in capsys.readouterr().err


# ---- reading the log -----------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_csv_logger_writes_is_read_back(separator, tmp_path):
    path = tmp_path / "log.csv"
    values = {"loss": [0.5, 0.1 + 0.2, math.nan], "val_loss": [None, 1e-30, None]}
    ScriptedRun(values).play(CSVLogger(path, separator=separator))
    log = read_training_log(path)
    assert log.epochs == [0, 1, 2]
    assert list(log.history) == ["loss", "val_loss"]
    assert same(log.history["loss"], [0.5, 0.1 + 0.2, math.nan])
    assert same(log.history["val_loss"], [math.nan, 1e-30, math.nan])


def test_later_row_of_an_epoch_counts_and_epochs_ascend(log_of):
    log = read_training_log(log_of("epoch,loss\n0,1\n1,2\n2,3\n1,4\n"))
    assert log.epochs == [0, 1, 2]
    assert log.history == {"loss": [1, 4, 3]}


def test_byte_order_mark_line_ends_and_short_rows_are_taken(log_of):
    log = read_training_log(log_of(b"\xef\xbb\xbfepoch,loss,acc\r\n0,1,0.5\r\n\r\n1,2\r\n"))
    assert log.epochs == [0, 1]
    assert log.history["loss"] == [1, 2]
    assert same(log.history["acc"], [0.5, math.nan])


def test_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_training_log(tmp_path)


def test_another_separator_is_no_log(log_of):
    with pytest.raises(FileFormatError, match="its first line"):
        read_training_log(log_of("epoch|loss\n0|1\n"))


def test_what_jsonl_logger_writes_is_read_back_and_drawn(tmp_path, capsys):
    path = tmp_path / "log.jsonl"
    values = {"loss": [0.5, math.inf, math.nan], "val_loss": [None, 1e-30, None]}
    ScriptedRun(values).play(JSONLLogger(path))
    log = read_training_log(path)
    assert log.epochs == [0, 1, 2]
    assert list(log.history) == ["loss", "val_loss"]
    assert same(log.history["loss"], [0.5, math.inf, math.nan])
    assert same(log.history["val_loss"], [math.nan, 1e-30, math.nan])
    assert main(["plot", str(path)]) == 0
    assert path.with_suffix(".png").read_bytes().startswith(PNG)


def test_lines_of_json_may_repeat_an_epoch_and_the_last_may_be_torn(log_of):
    text = (
        '{"epoch": 1, "loss": 1}\n{"epoch": 0, "loss": 2}\n{"epoch": 1, "loss": 3, "n": "x"}\n{"ep'
    )
    log = read_training_log(log_of(text))
    assert log == ([0, 1], {"loss": [2, 3]}, ["n"])
