import json
import math
import time

import pytest
from tracked_training import expected, killed, train

from callboard.callbacks import LambdaCallback, WandbLogger
from callboard.callbacks.wandb_file import last_steps, records
from callboard.testing import ScriptedRun

wandb = pytest.importorskip("wandb")
pytestmark = pytest.mark.usefixtures("tracking")
QUIET = {"mode": "offline", "settings": {"console": "off", "x_disable_stats": True}}


@pytest.fixture(scope="module", autouse=True)
def service():
    yield
    wandb.teardown()


def logger(folder, **options):
    return WandbLogger("digits", options={**QUIET, "dir": str(folder)}, **options)


def of_run(folder, run_id, kind):
    """Return the records of one kind, when the service's process has written the last one."""
    until = time.monotonic() + 30
    while True:
        files = sorted((folder / "wandb").glob(f"offline-run-*/run-{run_id}.wandb"))
        everything = [record for path in files for record in records(path)]
        found = {name: [] for name in (kind, "exit")}
        for record in everything:
            found.setdefault(record.WhichOneof("record_type"), []).append(record)
        if found["exit"] or time.monotonic() > until:
            return [getattr(record, kind) for record in found[kind]]
        time.sleep(0.05)


def curves(folder, run_id):
    found = {}
    for row in of_run(folder, run_id, "history"):
        for item in row.item:
            name = item.key or ".".join(item.nested_key)
            if not name.startswith("_"):
                found.setdefault(name, []).append((row.step.num, json.loads(item.value_json)))
    return found


def test_what_is_logged_is_what_the_file_has(tmp_path):
    tracker = logger(tmp_path, params={"data": {"n": 3}}, update_freq="batch")
    train(tracker, tmp_path / "run")
    assert curves(tmp_path, tracker.run_id) == expected(tmp_path / "whole")
    config = {
        item.key or ".".join(item.nested_key): json.loads(item.value_json)
        for part in of_run(tmp_path, tracker.run_id, "config")
        for item in part.update
    }
    assert config["epochs"] == 3
    assert config["data.n"] == 3
    assert [e.exit_code for e in of_run(tmp_path, tracker.run_id, "exit")] == [0]


@pytest.mark.parametrize("flushed", [False, True])
def test_a_run_that_is_killed_goes_on_as_the_same_run_with_every_point_once(tmp_path, flushed):
    every = 0.001 if flushed else 15.0
    settings = {
        "console": "off",
        "x_disable_stats": True,
        "x_transaction_log_flush_interval": every,
    }
    options = {"mode": "offline", "dir": str(tmp_path), "settings": settings}
    source = f"WandbLogger('digits', options={options!r}, update_freq='batch')"
    killed(source, tmp_path / "run")
    tracker = logger(tmp_path, update_freq="batch")
    train(tracker, tmp_path / "run")
    found = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(found) == 2
    assert {path.name.split("-")[3] for path in found} == {tracker.run_id}
    assert curves(tmp_path, tracker.run_id) == expected(tmp_path / "whole")


@pytest.mark.parametrize(("error", "code"), [(ValueError("x"), 1), (KeyboardInterrupt(), 143)])
def test_the_exit_code_tells_of_errors_and_interruptions(tmp_path, error, code):
    tracker = logger(tmp_path)
    with pytest.raises(type(error)):
        train(tracker, tmp_path / "run", error=error)
    assert [e.exit_code for e in of_run(tmp_path, tracker.run_id, "exit")] == [code]


def test_an_object_that_is_used_again_makes_a_second_run(tmp_path):
    tracker = logger(tmp_path)
    ids = []
    for _ in range(2):
        ScriptedRun({"loss": [0.5, 0.25]}).play(tracker)
        ids.append(tracker.run_id)
    assert ids[0] != ids[1]
    for run_id in ids:
        assert curves(tmp_path, run_id)["loss"] == [(1, 0.5), (2, 0.25)]


def test_nan_and_infinities_are_kept(tmp_path):
    tracker = logger(tmp_path)
    ScriptedRun({"loss": [math.nan, math.inf, 1.0]}).play(tracker)
    values = [float(value) for _, value in curves(tmp_path, tracker.run_id)["loss"]]
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, 1.0]


def test_a_run_of_the_program_is_logged_into_and_left_open(tmp_path):
    with wandb.init(project="mine", dir=str(tmp_path), **QUIET) as run:
        own = LambdaCallback(
            on_epoch_end=lambda epoch, logs: wandb.log({"mine": 1}, step=epoch + 1)
        )
        tracker = logger(tmp_path)
        ScriptedRun({"loss": [0.5]}).play(own, tracker)
        assert tracker.run_id == run.id
        run.log({"after": 1.0})
    assert curves(tmp_path, run.id)["mine"] == [(1, 1)]
    assert set(curves(tmp_path, run.id)) >= {"after", "loss"}


def test_checkpoints_are_artifacts(tmp_path):
    tracker = logger(tmp_path, log_checkpoints=True)
    (tmp_path / "best 1.pt").write_bytes(b"weights")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.bin").write_bytes(b"more")

    class Gives(LambdaCallback):
        def artifacts(self):
            return tmp_path / "best 1.pt", tmp_path / "folder"

    ScriptedRun({"loss": [0.5]}).play(Gives(), tracker)
    names = [artifact.name for artifact in of_run(tmp_path, tracker.run_id, "artifact")]
    assert names == [f"best_1-{tracker.run_id}", f"folder-{tracker.run_id}"]


def test_a_file_with_a_torn_end_gives_the_rows_before_it(tmp_path):
    tracker = logger(tmp_path, update_freq="batch", params={"long": "x" * 100_000})
    train(tracker, tmp_path / "run")
    assert of_run(tmp_path, tracker.run_id, "exit")
    (path,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    whole = path.read_bytes()
    steps = []
    for size in range(len(whole), 0, -997):
        path.write_bytes(whole[:size])
        steps.append(last_steps(tmp_path / "wandb", tracker.run_id).get("batch/loss", -1))
    assert steps[0] == 12
    assert steps[-1] == -1
    assert steps == sorted(steps, reverse=True)


def test_the_second_folder_of_a_second_is_read_too(tmp_path):
    """W&B appends a number where a run begins anew within the second in which it began."""
    tracker = logger(tmp_path, update_freq="batch")
    train(tracker, tmp_path / "run")
    assert of_run(tmp_path, tracker.run_id, "exit")
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    folder.rename(f"{folder}-1")
    assert last_steps(tmp_path / "wandb", tracker.run_id)["batch/loss"] == 12
