import math

import pytest

from callboard._core.errors import FileFormatError
from callboard.callbacks import CSVLogger
from callboard.recorded.csv_log import read_csv_log
from callboard.testing import ScriptedRun


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


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_csv_logger_writes_is_read_back(separator, tmp_path):
    path = tmp_path / "log.csv"
    values = {"loss": [0.5, 0.1 + 0.2, math.nan], "val_loss": [None, 1e-30, None]}
    ScriptedRun(values).play(CSVLogger(path, separator=separator))
    log = read_csv_log(path)
    assert log.epochs == [0, 1, 2]
    assert list(log.history) == ["loss", "val_loss"]
    assert same(log.history["loss"], [0.5, 0.1 + 0.2, math.nan])
    assert same(log.history["val_loss"], [math.nan, 1e-30, math.nan])


def test_later_row_of_an_epoch_counts_and_epochs_ascend(log_of):
    log = read_csv_log(log_of("epoch,loss\n0,1\n1,2\n2,3\n1,4\n"))
    assert log.epochs == [0, 1, 2]
    assert log.history == {"loss": [1, 4, 3]}


def test_byte_order_mark_line_ends_and_short_rows_are_taken(log_of):
    log = read_csv_log(log_of(b"\xef\xbb\xbfepoch,loss,acc\r\n0,1,0.5\r\n\r\n1,2\r\n"))
    assert log.epochs == [0, 1]
    assert log.history["loss"] == [1, 2]
    assert same(log.history["acc"], [0.5, math.nan])


def test_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_csv_log(tmp_path)


def test_another_separator_is_no_log(log_of):
    with pytest.raises(FileFormatError, match="its first line"):
        read_csv_log(log_of("epoch|loss\n0|1\n"))


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "log.csv").write_text("\n")
    with pytest.raises(FileFormatError, match="is empty"):
        read_csv_log(tmp_path / "log.csv")
