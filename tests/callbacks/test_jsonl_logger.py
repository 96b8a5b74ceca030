import json
import math
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callboard import Callback, ConfigurationError, FileFormatError, Run
from callboard.callbacks import BackupAndRestore, EarlyStopping, JSONLLogger, ReduceLROnPlateau
from callboard.recorded import read_recording
from callboard.testing import ScriptedModel, ScriptedRun

NAME = st.text(max_size=8)
VALUE = st.one_of(st.floats(), st.text(max_size=8), st.none(), st.lists(st.floats(), max_size=3))
EPOCHS = st.lists(st.dictionaries(NAME, VALUE, max_size=4), min_size=1, max_size=5)


def refused(constant):
    raise AssertionError(constant)


def lines(path):
    """Read a log as strictly as the standard has it, every line by itself."""
    text = path.read_bytes().decode("ascii")
    assert text.endswith("\n") or not text
    return [json.loads(line, parse_constant=refused) for line in text.split("\n")[:-1]]


def timeless(path):
    return [{name: each[name] for name in each if name != "time"} for each in lines(path)]


def log(logger, epochs, first=0):
    for epoch, logs in enumerate(epochs, first):
        logger.on_epoch_end(epoch, logs)
    logger.close()


def read(value):
    if isinstance(value, list):
        return [read(item) for item in value]
    return float(value) if value in {"NaN", "Infinity", "-Infinity"} else value


def shown(value):
    """Return a value in which NaN equals itself."""
    return repr(read(value)) if isinstance(value, float | str | list) else value


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epochs=EPOCHS)
def test_what_was_logged_is_what_a_reader_of_strict_json_finds(tmp_path, epochs):
    path = tmp_path / "log.jsonl"
    log(JSONLLogger(path), epochs)
    for epoch, (logs, found) in enumerate(zip(epochs, lines(path), strict=True)):
        assert list(found)[:3] == ["epoch", "step", "time"]
        assert found["epoch"] == epoch
        for name, value in logs.items():
            key = f"{name}_" if name in {"epoch", "step", "time"} else name
            assert shown(found[key]) == shown(value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.1, 0.1),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (np.float32(0.5), 0.5),
        (np.array([1.0, math.nan]), [1.0, "NaN"]),
        ({"a": (1, math.inf)}, {"a": [1, "Infinity"]}),
        (True, True),
        (None, None),
        (1 + 2j, "(1+2j)"),
        ("损\u2028\udcff", "损\u2028\udcff"),
    ],
)
def test_values(tmp_path, value, written):
    log(JSONLLogger(tmp_path / "log.jsonl"), [{"v": value}])
    assert lines(tmp_path / "log.jsonl")[0]["v"] == written


def test_a_run_has_a_line_an_epoch_with_its_steps_and_the_time(tmp_path):
    path = tmp_path / "a" / "log.jsonl"
    script = ScriptedRun({"val_loss": [None, 0.3], "loss": [0.5, 0.25]}, batches=3)
    script.play(JSONLLogger(path))
    assert timeless(path) == [
        {"epoch": 0, "step": 3, "loss": 0.5},
        {"epoch": 1, "step": 6, "loss": 0.25, "val_loss": 0.3},
    ]
    assert list(lines(path)[1]) == ["epoch", "step", "time", "loss", "val_loss"]
    assert lines(path)[0]["time"] <= lines(path)[1]["time"]


def test_metrics_that_are_called_like_what_a_line_has_anyway_are_there_too(tmp_path):
    path = tmp_path / "log.jsonl"
    log(JSONLLogger(path), [{"time": 5.0, "epoch": 6.0, "step": 7.0}])
    assert timeless(path) == [{"epoch": 0, "step": 0, "epoch_": 6.0, "step_": 7.0, "time_": 5.0}]


def test_lines_of_batches_have_their_step_and_are_counted_over_the_epochs(tmp_path):
    path = tmp_path / "log.jsonl"
    script = ScriptedRun({"loss": [0.5, 0.25]}, batches=4)
    script.play(JSONLLogger(path, update_freq=3))
    assert timeless(path) == [
        {"epoch": 0, "batch": 2, "step": 3, "loss": 0.5},
        {"epoch": 0, "step": 4, "loss": 0.5},
        {"epoch": 1, "batch": 1, "step": 6, "loss": 0.25},
        {"epoch": 1, "step": 8, "loss": 0.25},
    ]


def test_every_batch_is_in_the_file_when_it_has_ended(tmp_path):
    path, seen = tmp_path / "log.jsonl", []

    class Looks(Callback):
        order = 99

        def on_train_batch_end(self, batch, logs=None):
            seen.append(len(lines(path)))

    script = ScriptedRun([1.0], monitor="loss", batches=3)
    script.play(Looks(), JSONLLogger(path, update_freq="batch"))
    assert seen == [1, 2, 3]


def test_metrics_of_batches_that_are_not_written_are_not_read(tmp_path):
    read = []

    class OnDevice:
        shape, dtype = (), "float32"

        def item(self):
            read.append(run.progress.step)
            return 0.5

        def __add__(self, other):
            return self

        def __mul__(self, other):
            return self

        def __float__(self):
            return self.item()

    with Run(callbacks=[JSONLLogger(tmp_path / "l", update_freq=5)], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train(range(12)):
                run.log(loss=OnDevice())
    assert set(read) == {5, 10, 12}


@pytest.mark.parametrize("update_freq", ["epochs", 0, -1, True, 2.5, None])
def test_an_impossible_update_freq_is_an_error(update_freq):
    with pytest.raises(ConfigurationError, match="update_freq must be 'epoch', 'batch' or"):
        JSONLLogger("log.jsonl", update_freq=update_freq)


def test_only_a_logger_of_batches_costs_something_per_batch():
    assert "on_train_batch_end" not in vars(JSONLLogger("a"))
    assert "on_train_batch_end" in vars(JSONLLogger("a", update_freq=9))


def test_with_a_journal_the_log_tells_how_the_run_was_set_up_and_what_was_decided(tmp_path):
    path = tmp_path / "log.jsonl"
    logger = JSONLLogger(path, journal=True)
    stopping = EarlyStopping("loss", patience=1)
    ScriptedRun([0.5, 0.6, 0.7], monitor="loss", learning_rate=0.5).play(logger, stopping)
    first, *others, last = lines(path)
    assert list(first) == ["configuration", "environment"]
    assert first["configuration"]["learning rate"] == 0.5
    assert first["configuration"]["EarlyStopping"] == {"monitor": "loss", "patience": 1}
    assert first["environment"]["numpy"] == np.__version__
    assert [line["loss"] for line in others] == [0.5, 0.6]
    cause = "loss did not improve on 0.5 for 1 epochs"
    decision = {"epoch": 1, "step": 2, "decision": "stopped", "callback": "EarlyStopping"}
    assert last == {**decision, "cause": cause}
    recording = read_recording(path)
    assert [(each.action, each.epoch) for each in recording.decisions] == [("stopped", 1)]
    assert {"step": 2, "stop_reason": cause}.items() <= recording.progress.items()
    assert recording.configuration == first["configuration"]
    assert recording.history == {"loss": [0.5, 0.6]}


def test_a_journal_is_gone_on_with_without_telling_anything_twice(tmp_path):
    def run(epochs, killed_at=None):
        path = tmp_path / "log.jsonl"
        backup = BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        stopping = ReduceLROnPlateau("loss", patience=1)
        model = ScriptedModel(1.0)
        listed = [JSONLLogger(path, update_freq="batch", journal=True), stopping, backup]
        with Run(trainable=model, epochs=epochs, callbacks=listed, verbose=0) as run:
            for epoch in run.epochs():
                for batch in run.train([0, 1]):
                    if (epoch, batch) == killed_at:
                        raise ValueError("killed")
                    run.log(loss=1.0)
        return lines(path)

    with pytest.raises(ValueError, match="killed"):
        run(4, (2, 1))
    found = run(4)
    assert sum("configuration" in line for line in found) == 1
    told = [(line["epoch"], line["decision"]) for line in found if "decision" in line]
    assert [each for each in told if each[1] == "reduced"] == [
        (1, "reduced"),
        (2, "reduced"),
        (3, "reduced"),
    ]
    of_batches = [(line["epoch"], line["batch"]) for line in found if "batch" in line]
    assert of_batches == [(epoch, batch) for epoch in range(4) for batch in range(2)]
    assert [line["epoch"] for line in found if {"loss", "batch"} & line.keys() == {"loss"}] == [
        0,
        1,
        2,
        3,
    ]


def test_appending_to_a_log_with_a_journal(tmp_path):
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        logger = JSONLLogger(path, append=True, journal=True)
        ScriptedRun([0.5], monitor="loss").play(logger)
    assert [next(iter(line)) for line in lines(path)] == ["configuration", "epoch"] * 2


def test_a_line_is_in_the_file_when_its_epoch_has_ended(tmp_path):
    path, seen = tmp_path / "log.jsonl", []

    class Looks(Callback):
        order = 99

        def on_epoch_end(self, epoch, logs=None):
            seen.append(len(lines(path)))

    ScriptedRun([1.0, 2.0], monitor="loss").play(Looks(), JSONLLogger(path))
    assert seen == [1, 2]


def test_without_append_the_log_before_is_there_until_the_first_epoch_has_ended(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("precious\n")
    logger = JSONLLogger(path)
    logger.check()
    logger.close()
    assert path.read_text() == "precious\n"
    log(logger, [{"loss": 1.0}])
    assert timeless(path) == [{"epoch": 0, "step": 0, "loss": 1.0}]


def test_a_second_run_of_the_same_object_begins_the_file_anew_or_appends(tmp_path):
    for append, expected in ((False, 2), (True, 4)):
        path = tmp_path / f"{append}.jsonl"
        logger = JSONLLogger(path, append)
        ScriptedRun([1.0, 2.0], monitor="loss").play(logger)
        ScriptedRun([3.0, 4.0], monitor="loss").play(logger)
        assert len(lines(path)) == expected


def test_appending_to_a_last_line_that_was_left_open_spoils_no_other(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 0}\n{"epo')
    logger = JSONLLogger(path, append=True)
    logger.check()
    log(logger, [{"loss": 3.0}], first=1)
    first, torn, last = path.read_text().splitlines()
    assert (first, torn) == ('{"epoch": 0}', '{"epo')
    assert json.loads(last)["loss"] == 3.0


@pytest.mark.parametrize("content", [b"epoch,loss\n", b"\n", b"\x89PNG\xff\xfe", b"[1]\n", b"{}\n"])
def test_appending_to_what_is_no_such_log_is_an_error_that_leaves_it_alone(tmp_path, content):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="its first line should be an object with 'epoch'"):
        ScriptedRun([1.0]).play(JSONLLogger(path, append=True))
    assert path.read_bytes() == content


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_on_a_full_disk_the_error_reaches_the_caller_and_the_lines_before_are_there(
    full_disk, tmp_path
):
    said = full_disk(
        "from callboard.callbacks import JSONLLogger\n"
        "from callboard import Callback\n"
        "from callboard.testing import ScriptedRun\n"
        "class Grows(Callback):\n"
        "    order = -10\n"
        "    def on_epoch_end(self, epoch, logs=None):\n"
        "        logs['note'] = 'x' * 10 ** (epoch + 3)\n"
        "script = ScriptedRun({'loss': [1.0, 2.0, 3.0]})\n"
        "script.play(JSONLLogger(folder / 'log.jsonl'), Grows())\n"
    )
    assert said == "OSError 27"
    first, second, *_ = (tmp_path / "log.jsonl").read_text().split("\n")
    assert [len(json.loads(line)["note"]) for line in (first, second)] == [1000, 10_000]


# ---- going on after an interruption --------------------------------------------------------------


def written(path, epochs, **options):
    logger = JSONLLogger(path, **options)
    logger.check()
    log(logger, [{"loss": float(epoch)} for epoch in range(epochs)])
    return logger


@pytest.mark.parametrize("append", [False, True])
def test_lines_after_the_state_are_cut_off(tmp_path, append):
    path = tmp_path / "log.jsonl"
    if append:
        written(path, 3)
    logger = written(path, 2, append=append)
    state, before = logger.state_dict(), path.read_bytes()
    log(logger, [{"loss": 9.0}, {"loss": 8.0}], first=2)
    fresh = JSONLLogger(path, append)
    fresh.check()
    fresh.load_state_dict(state)
    assert path.read_bytes() == before
    log(fresh, [{"loss": 2.0}], first=2)
    assert [line["loss"] for line in lines(path)][-3:] == [0.0, 1.0, 2.0]
    assert len(lines(path)) == (6 if append else 3)


def test_a_state_of_before_the_first_line_begins_the_file(tmp_path):
    path = tmp_path / "log.jsonl"
    state = JSONLLogger(path).state_dict()
    written(path, 2)
    fresh = JSONLLogger(path)
    fresh.load_state_dict(state)
    log(fresh, [{"loss": 5.0}])
    assert [line["loss"] for line in lines(path)] == [5.0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is gone"),
        (b'{"epoch": 0}\n', "has 13 bytes instead of"),
        (b"x" * 999, "was changed"),
    ],
)
def test_a_log_that_is_not_what_it_was_is_told_and_left_alone(tmp_path, content, said):
    path = tmp_path / "log.jsonl"
    logger = written(path, 3)
    state = logger.state_dict()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.warns(RuntimeWarning, match=f"{said}.*; lines written before may be missing"):
        JSONLLogger(path).load_state_dict(state)
    assert (path.read_bytes() if path.exists() else None) == content


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_log_that_is_removed_meanwhile_is_begun_again_with_a_warning(tmp_path):
    path = tmp_path / "runs" / "log.jsonl"
    logger = JSONLLogger(path)
    logger.on_epoch_end(0, {"loss": 1.0})
    path.unlink()
    path.parent.rmdir()
    with pytest.warns(RuntimeWarning, match="is gone; lines written before may be missing"):
        logger.on_epoch_end(1, {"loss": 0.5})
    logger.close()
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1]


def test_settling_syncs_what_was_written_since(tmp_path, monkeypatch):
    synced = []
    logger = JSONLLogger(tmp_path / "log.jsonl")
    logger.on_epoch_end(0, {"loss": 1.0})
    monkeypatch.setattr("callboard._core.fs.sync", lambda file: synced.append(file.name))
    logger.settle()
    logger.settle()
    assert len(synced) == 1
    logger.close()
