import csv
import math
import string
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard import Callback, FileFormatError
from callboard.callbacks import CSVLogger
from callboard.testing import ScriptedRun

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NASTY = st.text(st.sampled_from('",;\n\r\t ab é字'), max_size=6)
VALUE = st.one_of(st.floats(), TEXT, NASTY)
EPOCHS = st.lists(st.dictionaries(TEXT | NASTY, VALUE, max_size=4), min_size=1, max_size=6)
SEPARATOR = st.sampled_from([c for c in string.printable + "字" if c not in '"\r\n'])


def rows(path, separator=","):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=separator))


def log(logger, epochs, first=0):
    for epoch, logs in enumerate(epochs, first):
        logger.on_epoch_end(epoch, logs)
    logger.close()


def shown(value):
    return value if isinstance(value, str) else str(value)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epochs=EPOCHS, separator=SEPARATOR)
def test_what_was_logged_is_what_a_csv_reader_finds(tmp_path, epochs, separator):
    path = tmp_path / "log.csv"
    log(CSVLogger(path, separator), epochs)
    header, *found = rows(path, separator)
    assert header[0] == "epoch"
    assert set(header[1:]) == set().union(*epochs)
    assert len(set(header[1:])) == len(header) - 1
    for epoch, (logs, row) in enumerate(zip(epochs, found, strict=True)):
        values = dict(zip(header[1:], row[1:], strict=True))
        assert row[0] == str(epoch)
        assert values == {name: shown(logs.get(name, "NA")) for name in header[1:]}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=EPOCHS, after=EPOCHS, separator=SEPARATOR)
def test_appending_with_other_columns_loses_and_shifts_nothing(tmp_path, before, after, separator):
    path = tmp_path / "log.csv"
    log(CSVLogger(path, separator), before)
    logger = CSVLogger(path, separator, append=True)
    logger.check()
    log(logger, after, first=len(before))
    header, *found = rows(path, separator)
    for logs, row in zip([*before, *after], found, strict=True):
        values = dict(zip(header[1:], row[1:], strict=True))
        assert values == {name: shown(logs.get(name, "NA")) for name in header[1:]}


def test_columns_are_sorted_and_those_that_come_later_are_behind_them(tmp_path):
    path = tmp_path / "log.csv"
    log(CSVLogger(path), [{"b": 1.0, "a": 2.0}, {"z": 3.0, "a0": 4.0, "a": 5.0}])
    assert path.read_text() == "epoch,a,b,a0,z\n0,2.0,1.0,NA,NA\n1,5.0,NA,4.0,3.0\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (1e-300, "1e-300"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (np.array([1, 2]), "[1, 2]"),
        (np.float64(0.1), "0.1"),
        ([1, 2], "[1, 2]"),
        (None, "None"),
    ],
)
def test_values_are_written_so_that_they_can_be_read_exactly(tmp_path, value, text):
    log(CSVLogger(tmp_path / "log.csv"), [{"v": value}])
    assert rows(tmp_path / "log.csv")[1] == ["0", text]


def test_a_row_is_in_the_file_when_its_epoch_has_ended(tmp_path):
    path = tmp_path / "log.csv"
    seen = []

    class Looks(Callback):
        order = 99

        def on_epoch_end(self, epoch, logs=None):
            seen.append(len(path.read_text().splitlines()))

    ScriptedRun([1.0, 2.0], monitor="loss").play(Looks(), CSVLogger(path))
    assert seen == [2, 3]


def test_the_rows_are_there_after_an_error(tmp_path):
    path = tmp_path / "log.csv"

    class Fails(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        ScriptedRun([1.0, 2.0, 3.0], monitor="loss").play(CSVLogger(path), Fails())
    assert path.read_text() == "epoch,loss\n0,1.0\n1,2.0\n"


def test_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "log.csv"
    ScriptedRun([1.0], monitor="loss").play(CSVLogger(path))
    assert path.exists()


def test_without_append_the_log_before_is_there_until_the_first_epoch_has_ended(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("precious\n")
    logger = CSVLogger(path)
    logger.check()
    logger.close()
    assert path.read_text() == "precious\n"
    log(logger, [{"loss": 1.0}])
    assert path.read_text() == "epoch,loss\n0,1.0\n"


def test_a_second_run_of_the_same_object_begins_the_file_anew_or_appends(tmp_path):
    for append, expected in ((False, 2), (True, 4)):
        path = tmp_path / f"{append}.csv"
        logger = CSVLogger(path, append=append)
        ScriptedRun([1.0, 2.0], monitor="loss").play(logger)
        ScriptedRun([3.0, 4.0], monitor="loss").play(logger)
        assert len(rows(path)) == 1 + expected


def test_appending_to_nothing_or_to_an_empty_file_begins_one(tmp_path):
    path = tmp_path / "log.csv"
    for _ in range(2):
        logger = CSVLogger(path, append=True)
        logger.check()
        log(logger, [{"loss": 1.0}])
        assert path.read_text() == "epoch,loss\n0,1.0\n"
        path.write_text("")


def test_a_last_row_that_was_left_open_is_not_merged_with_the_next(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss\n0,1.0\n1,2")
    logger = CSVLogger(path, append=True)
    logger.check()
    log(logger, [{"loss": 3.0}], first=2)
    assert path.read_text() == "epoch,loss\n0,1.0\n1,2\n2,3.0\n"


def test_a_log_that_is_gone_when_a_run_goes_on_is_begun_with_its_header(tmp_path):
    logger = CSVLogger(tmp_path / "log.csv")
    with pytest.warns(RuntimeWarning, match="is gone; rows written before are missing"):
        logger.load_state_dict({"columns": ["acc", "loss"], "rows": 5, "size": 50})
    log(logger, [{"loss": 1.0}], first=5)
    assert (tmp_path / "log.csv").read_text() == "epoch,acc,loss\n5,NA,1.0\n"


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
@pytest.mark.parametrize("names", [("loss",), ("loss", "later")])
def test_a_log_that_is_removed_meanwhile_is_begun_again_with_a_warning(names, tmp_path):
    path = tmp_path / "runs" / "log.csv"
    logger = CSVLogger(path)
    logger.on_epoch_end(0, {"loss": 1.0})
    path.unlink()
    path.parent.rmdir()
    with pytest.warns(RuntimeWarning, match="is gone; rows written before are missing"):
        logger.on_epoch_end(1, dict.fromkeys(names, 0.5))
    logger.on_epoch_end(2, {"loss": 0.25})
    logger.close()
    header, *found = rows(path)
    assert sorted(header[1:]) == sorted(names)
    assert [row[0] for row in found] == ["1", "2"]
    assert logger.state_dict()["rows"] == 2


def test_a_column_may_be_added_to_a_log_that_is_gone(tmp_path):
    logger = CSVLogger(tmp_path / "log.csv")
    with pytest.warns(RuntimeWarning, match="is gone"):
        logger.load_state_dict({"columns": ["loss"], "rows": 5, "size": 50})
    log(logger, [{"loss": 1.0, "later": 2.0}], first=5)
    assert rows(tmp_path / "log.csv") == [["epoch", "loss", "later"], ["5", "1.0", "2.0"]]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\n", b"\x89PNG\xff\xfe", b"not a log"])
def test_appending_to_what_is_no_such_log_is_an_error_that_leaves_it_alone(tmp_path, content):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="its first column should be 'epoch'"):
        ScriptedRun([1.0]).play(CSVLogger(path, append=True))
    assert path.read_bytes() == content


def test_a_file_with_another_separator_is_not_gone_on_with(tmp_path):
    path = tmp_path / "log.csv"
    log(CSVLogger(path, ";"), [{"loss": 1.0}])
    with pytest.raises(FileFormatError):
        CSVLogger(path, append=True).check()


def test_a_log_that_a_spreadsheet_has_saved_is_gone_on_with(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"epoch,loss\r\n0,1.0\r\n")
    logger = CSVLogger(path, append=True)
    logger.check()
    log(logger, [{"loss": 2.0, "acc": 0.5}], first=1)
    assert rows(path) == [["epoch", "loss", "acc"], ["0", "1.0", "NA"], ["1", "2.0", "0.5"]]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("new_column", [False, True])
def test_on_a_full_disk_the_error_reaches_the_caller_and_the_rows_before_are_there(
    full_disk, tmp_path, new_column
):
    said = full_disk(
        "from callboard.callbacks import CSVLogger\n"
        "from callboard import Callback\n"
        "from callboard.testing import ScriptedRun\n"
        "class Grows(Callback):\n"
        "    order = -10\n"
        "    def on_epoch_end(self, epoch, logs=None):\n"
        "        logs['note'] = 'x' * 10 ** (epoch + 3)\n"
        f"        if epoch == 1 and {new_column}: logs['late'] = 'x' * 30_000\n"
        "script = ScriptedRun({'loss': [1.0, 2.0, 3.0]})\n"
        "script.play(CSVLogger(folder / 'log.csv'), Grows())\n"
    )
    assert said == "OSError 27"
    header, *found = rows(tmp_path / "log.csv")
    assert header == (["epoch", "loss", "note", "late"] if new_column else header)
    for epoch in range(1 if new_column else 2):
        note = "x" * 10 ** (epoch + 3)
        assert found[epoch][:3] == [str(epoch), f"{epoch + 1.0}", note]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


# ---- going on after an interruption --------------------------------------------------------------


def written(path, epochs, columns=("loss",), **options):
    """Write rows as a run does, and return the logger, which a kill leaves open."""
    logger = CSVLogger(path, **options)
    logger.check()
    log(logger, [dict.fromkeys(columns, float(epoch)) for epoch in range(epochs)])
    return logger


def test_rows_after_the_state_are_cut_off(tmp_path):
    path = tmp_path / "log.csv"
    logger = written(path, 2)
    state, before = logger.state_dict(), path.read_bytes()
    log(logger, [{"loss": 9.0}, {"loss": 8.0}], first=2)
    fresh = CSVLogger(path)
    fresh.load_state_dict(state)
    assert path.read_bytes() == before
    log(fresh, [{"loss": 2.0}], first=2)
    assert path.read_text() == "epoch,loss\n0,0.0\n1,1.0\n2,2.0\n"


def test_columns_after_the_state_are_cut_off_too(tmp_path):
    path = tmp_path / "log.csv"
    logger = written(path, 2)
    state, before = logger.state_dict(), path.read_bytes()
    log(logger, [{"loss": 9.0, "val_loss": 1.0}], first=2)
    fresh = CSVLogger(path)
    fresh.load_state_dict(state)
    assert path.read_bytes() == before


def test_rows_of_an_earlier_run_stay(tmp_path):
    path = tmp_path / "log.csv"
    written(path, 3)
    logger = written(path, 1, append=True)
    state, before = logger.state_dict(), path.read_bytes()
    log(logger, [{"loss": 9.0, "more": 1.0}], first=1)
    fresh = CSVLogger(path, append=True)
    fresh.check()
    fresh.load_state_dict(state)
    assert path.read_bytes() == before
    assert len(before.splitlines()) == 5


def test_a_state_of_before_the_first_row_begins_the_file(tmp_path):
    path = tmp_path / "log.csv"
    state = CSVLogger(path).state_dict()
    written(path, 2)
    fresh = CSVLogger(path)
    fresh.load_state_dict(state)
    log(fresh, [{"loss": 5.0}])
    assert path.read_text() == "epoch,loss\n0,5.0\n"


def test_a_file_that_lost_rows_is_told(tmp_path):
    path = tmp_path / "log.csv"
    state = written(path, 3).state_dict()
    path.write_text("epoch,loss\n0,0.0\n")
    with pytest.warns(RuntimeWarning, match="has 1 rows instead of 3"):
        CSVLogger(path).load_state_dict(state)


def test_a_file_that_is_not_this_log_is_left_alone(tmp_path):
    path = tmp_path / "log.csv"
    state = written(path, 3).state_dict()
    path.write_text("epoch,other\n0,0.0\n")
    with pytest.warns(RuntimeWarning, match=r"has other columns, \['other'\]"):
        CSVLogger(path).load_state_dict(state)
    assert path.read_text() == "epoch,other\n0,0.0\n"


def test_settling_syncs_what_was_written_since(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("callboard._core.fs.sync", lambda file: synced.append(file.name))
    path = tmp_path / "log.csv"
    logger = CSVLogger(path)
    for epoch in range(2):
        logger.on_epoch_end(epoch, {"loss": 1.0})
        logger.settle()
        logger.settle()
    assert synced.count(str(path)) == 2
    logger.close()
