import json
import math
import shutil

import pytest

from callboard import FileFormatError, Run
from callboard.callbacks import (
    BackupAndRestore,
    CSVLogger,
    EarlyStopping,
    JSONLLogger,
    TensorBoard,
)
from callboard.checkpoint import CheckpointStore
from callboard.events import EventWriter
from callboard.recorded import read_recording, read_recordings
from callboard.recorded.event_files import event_files_in
from callboard.testing import ScriptedRun


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run, with all that it may leave."""
    folder = tmp_path_factory.mktemp("run")
    with Run(
        epochs=5,
        callbacks=[
            CSVLogger(folder / "log.csv"),
            TensorBoard(folder / "tb", write_graph=False),
            EarlyStopping("val_loss", patience=1),
            BackupAndRestore(folder / "backup", delete_checkpoint=False),
        ],
        verbose=0,
    ) as run:
        for epoch in run.epochs():
            for _ in run.train([1, 2]):
                run.log(loss=1.0 / (epoch + 1))
            for _ in run.validate([1]):
                run.log(loss=0.1 + abs(epoch - 1))
    return folder


EXPECTED = {"loss": [1.0, 0.5, 1 / 3], "val_loss": [1.1, 0.1, 1.1]}


@pytest.mark.parametrize("part", ["", "log.csv", "backup", "tb"])
def test_every_record_of_a_run_tells_the_same(part, trained):
    recording = read_recording(trained / part)
    assert recording.epochs == [0, 1, 2]
    for name, values in EXPECTED.items():
        assert recording.history[name] == pytest.approx(values)


def test_a_checkpoint_knows_the_decisions_the_time_and_the_configuration(trained):
    recording = read_recording(trained)
    assert [(each.action, each.epoch) for each in recording.decisions] == [("stopped", 2)]
    assert recording.progress["step"] == 6
    assert recording.progress["elapsed_s"] > 0
    assert recording.configuration["EarlyStopping"] == {"patience": 1}
    assert "python" in recording.environment


def test_newest_whole_checkpoint_counts_and_nothing_is_moved(trained, tmp_path):
    folder = tmp_path / "backup"
    shutil.copytree(trained / "backup", folder)
    only = next(folder.glob("step-*"))
    newer = folder / "step-00000099"
    shutil.copytree(only, newer)
    (newer / "state.json").write_bytes(b"{}")
    assert read_recording(folder).sources == [str(only)]
    assert newer.is_dir()


def test_weights_alone_are_no_recording(tmp_path):
    with CheckpointStore(tmp_path) as store:
        store.save({"weights": {}}, step=1)
    with pytest.raises(FileFormatError, match="without the run"):
        read_recording(tmp_path)


def test_logs_side_by_side_are_several_runs(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("epoch,loss\n0,1\n")
    (tmp_path / "predictions.csv").write_text("x,y\n1,2\n")
    assert [each.name for each in read_recordings(tmp_path)] == ["a.csv", "b.csv"]
    with pytest.raises(FileFormatError, match="holds 2 trainings"):
        read_recording(tmp_path)


def test_what_is_not_there_or_nothing_known_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file"):
        read_recording(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FileFormatError, match="It can be a log of CSVLogger, a JSONL log"):
        read_recording(tmp_path / "notes.txt")


# ---- JSONL ---------------------------------------------------------------------------------------


def test_jsonl_log_is_read_with_null_words_and_a_cut_end(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"run": "a"}\n{"epoch": 0, "loss": 1, "note": "x"}\n'
        '{"epoch": 1, "loss": null, "acc": "Infinity"}\n{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "lo'
    )
    recording = read_recording(path)
    assert recording.epochs == [0, 1]
    assert recording.history["loss"] == [1.0, 0.5]
    assert math.isnan(recording.history["acc"][0])
    assert recording.history["acc"][1] == math.inf
    assert recording.skipped == ["note"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{nonsense\n{}\n", "no JSON in line 1"),
        ("{}\n[1]\n", "an object such as"),
        ('{"loss": 1}\n', 'no lines with an "epoch"'),
        ('{"epoch": 1}\n', "no metrics"),
    ],
)
def test_what_is_no_jsonl_log_is_explained(text, said, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=said):
        read_recording(path)


# ---- event files ---------------------------------------------------------------------------------


def test_truncated_event_file_is_read_up_to_there(trained, tmp_path):
    shutil.copytree(trained / "tb", tmp_path / "tb")
    (path,) = (tmp_path / "tb" / "validation").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    history = read_recording(tmp_path / "tb").history["val_loss"]
    assert history[:2] == pytest.approx([1.1, 0.1])


def test_event_file_without_metrics_of_epochs_names_what_it_has(tmp_path):
    with EventWriter(tmp_path) as writer:
        writer.add_scalar("batch_loss", 1.0, step=1)
    with pytest.raises(FileFormatError, match="it has batch_loss"):
        read_recording(tmp_path)
    assert len(event_files_in(tmp_path)) == 1


def test_writer_that_began_anew_replaces_what_came_after(tmp_path):
    for start, value in ((0, 1.0), (1, 2.0)):
        with EventWriter(tmp_path, start_step=start) as writer:
            for step in range(start, 3 - start):
                writer.add_scalar("epoch_loss", value, step=step)
    assert read_recording(tmp_path).history["loss"] == [1.0, 2.0]


def test_scalars_of_tensorflow_are_read(tmp_path):
    tf = pytest.importorskip("tensorflow")
    with tf.summary.create_file_writer(str(tmp_path / "validation")).as_default():
        tf.summary.scalar("epoch_loss", 0.25, step=3)
    recording = read_recording(tmp_path)
    assert (recording.epochs, recording.history) == ([3], {"val_loss": [0.25]})


def test_what_jsonl_logger_writes_is_read_back(tmp_path):
    path = tmp_path / "log.jsonl"
    values = {"loss": [0.5, math.inf, math.nan], "val_loss": [None, 1e-30, None]}
    ScriptedRun(values).play(JSONLLogger(path))
    recording = read_recording(path)
    assert recording.epochs == [0, 1, 2]
    assert sorted(recording.history) == ["loss", "val_loss"]
    assert recording.history["loss"][:2] == [0.5, math.inf]
    assert math.isnan(recording.history["loss"][2])
    assert recording.history["val_loss"][1] == 1e-30


def test_lines_of_batches_are_no_epochs_unless_there_are_no_others(tmp_path):
    log = tmp_path / "log.jsonl"
    batches = '{"epoch": 0, "batch": 0, "loss": 3.0}\n{"epoch": 0, "batch": 1, "loss": 2.0}\n'
    log.write_text(batches)
    assert read_recording(log).history == {"loss": [2.0]}
    log.write_text(batches + '{"epoch": 0, "loss": 1.0}\n{"epoch": 1, "batch": 0, "loss": 9.0}\n')
    assert read_recording(log).history == {"loss": [1.0]}


HISTORY = {"loss": [0.5, 0.25, 0.125], "val_loss": [0.5, 0.25], "note": ["a", "b", "c"]}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["history.json", "training_history"])
def test_history_as_json(name, indent, tmp_path):
    path = tmp_path / name
    path.write_text(json.dumps(HISTORY, indent=indent))
    recording = read_recording(path)
    assert recording.epochs == [0, 1, 2]
    # A metric that comes up late stands at the end, as in Keras's lists.
    assert recording.history["val_loss"] == pytest.approx([math.nan, 0.5, 0.25], nan_ok=True)
    assert recording.skipped == ["note"]


def test_history_as_json_with_its_epochs(tmp_path):
    played = ScriptedRun([0.5, math.nan], monitor="loss").play().run.history
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"epoch": [4, 5], "history": played.history}))
    recording = read_recording(path)
    assert recording.epochs == [4, 5]
    assert recording.history["loss"] == pytest.approx([0.5, math.nan], nan_ok=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": {"b": 1}}', "is no history"),
        ('{"loss": 1,\n', "is no JSON"),
        ("{\n}", "has no epochs yet"),
        ('{"loss": ["x"]}', "no metric that is numbers"),
        ('{"history": {"loss": [1, 2]}, "epoch": [0]}', "2 values of 'loss' for 1 epochs"),
    ],
)
def test_json_that_is_no_history(content, said, tmp_path):
    path = tmp_path / "history.json"
    path.write_text(content)
    with pytest.raises(FileFormatError, match=said):
        read_recording(path)


def test_logs_of_several_kinds_side_by_side_are_one_training(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n0,0.5\n")
    (tmp_path / "log.jsonl").write_text('{"epoch": 0, "acc": 0.25}\n')
    (tmp_path / "history.json").write_text('{"mae": [0.125]}')
    assert read_recording(tmp_path).history == {"mae": [0.125], "loss": [0.5], "acc": [0.25]}
    (tmp_path / "b.csv").write_text("epoch,loss\n0,0.5\n")
    assert len(read_recordings(tmp_path)) == 4


def test_speed_is_that_of_the_usual_epoch_of_a_jsonl_log(tmp_path):
    log = tmp_path / "log.jsonl"
    moments = [(10, 5.0), (20, 6.0), (30, 7.0), (40, 90.0), (50, 91.0)]  # a night between
    lines = [
        json.dumps({"epoch": e, "step": s, "time": t, "loss": 1})
        for e, (s, t) in enumerate(moments)
    ]
    log.write_text("\n".join(lines) + "\n")
    assert read_recording(log).progress == {"step": 50, "steps_per_second": 10.0}
