import json
import math
import types
import zipfile

import pytest
from tracked_training import expected, killed, train

from callboard import ConfigurationError
from callboard.callbacks import CometLogger, LambdaCallback
from callboard.testing import ScriptedRun

comet_ml = pytest.importorskip("comet_ml")
pytestmark = pytest.mark.usefixtures("tracking")
QUIET = {"log_code": False, "log_env_details": False, "log_git_metadata": False}
QUIET |= {"log_git_patch": False, "display_summary_level": 0}


def options(folder):
    return {**QUIET, "offline_directory": str(folder / "comet")}


def logger(folder, **more):
    return CometLogger("digits", online=False, options=options(folder), **more)


def messages(folder, run_id):
    found = []
    for path in sorted((folder / "comet").glob(f"{run_id}*.zip"), key=lambda p: p.stat().st_mtime):
        with zipfile.ZipFile(path) as archive:
            if "messages.json" not in archive.namelist():  # of a process that was killed
                continue
            found += map(json.loads, archive.read("messages.json").splitlines())
    return found


def curves(folder, run_id):
    found = {}
    for message in messages(folder, run_id):
        metric = message["payload"].get("metric")
        if metric and metric["metricName"] != "process duration":
            point = metric["step"], float(metric["metricValue"])
            found.setdefault(metric["metricName"], []).append(point)
    return found


def others(folder, run_id):
    return {
        m["payload"]["key"]: m["payload"]["value"]
        for m in messages(folder, run_id)
        if m["type"] == "log_other"
    }


def test_what_is_logged_is_what_the_archive_has(tmp_path):
    tracker = logger(tmp_path, params={"n": 3}, update_freq="batch")
    train(tracker, tmp_path / "run")
    assert curves(tmp_path, tracker.run_id) == expected(tmp_path / "whole")
    params = {
        m["payload"]["param"]["paramName"]: m["payload"]["param"]["paramValue"]
        for m in messages(tmp_path, tracker.run_id)
        if m["type"] == "parameter_msg"
    }
    assert (params["n"], params["epochs"]) == (3, 3)
    assert others(tmp_path, tracker.run_id)["status"] == "finished"


def test_a_run_that_is_killed_goes_on_as_the_same_run_with_every_point_once(tmp_path):
    source = (
        f"CometLogger('digits', online=False, options={options(tmp_path)}, update_freq='batch')"
    )
    killed(source, tmp_path / "run")
    tracker = logger(tmp_path, update_freq="batch")
    train(tracker, tmp_path / "run")
    assert curves(tmp_path, tracker.run_id) == expected(tmp_path / "whole")


def test_points_that_an_archive_has_are_left_out(tmp_path):
    first = logger(tmp_path, update_freq="batch")
    with pytest.raises(ValueError, match="x"):
        train(first, tmp_path / "run", error=ValueError("x"), fail_at=7)
    second = logger(tmp_path, update_freq="batch")
    train(second, tmp_path / "run")
    assert second.run_id == first.run_id
    assert curves(tmp_path, first.run_id) == expected(tmp_path / "whole")


def test_the_status_tells_of_errors(tmp_path):
    tracker = logger(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tracker, tmp_path / "run", error=KeyboardInterrupt())
    assert others(tmp_path, tracker.run_id)["status"] == "killed"


def test_an_object_that_is_used_again_makes_a_second_run_and_nan_is_kept(tmp_path):
    tracker = logger(tmp_path)
    ids = []
    for _ in range(2):
        ScriptedRun({"loss": [math.nan, math.inf, 0.25]}).play(tracker)
        ids.append(tracker.run_id)
    assert ids[0] != ids[1]
    for run_id in ids:
        values = [value for _, value in curves(tmp_path, run_id)["loss"]]
        assert math.isnan(values[0])
        assert values[1:] == [math.inf, 0.25]


def test_checkpoints_are_models(tmp_path):
    (tmp_path / "best.pt").write_bytes(b"weights")

    class Gives(LambdaCallback):
        def artifacts(self):
            return (tmp_path / "best.pt",)

    tracker = logger(tmp_path, log_checkpoints=True)
    ScriptedRun({"loss": [0.5]}).play(Gives(), tracker)
    uploads = [m for m in messages(tmp_path, tracker.run_id) if m["type"] == "file_upload"]
    assert "best.pt" in str([m["payload"]["additional_params"]["fileName"] for m in uploads])


def test_online_the_last_step_is_what_comet_has(monkeypatch):
    points = [{"metricName": "loss", "step": step} for step in (4, 8, None)]
    experiment = types.SimpleNamespace(get_metrics=lambda name: points if name == "loss" else [])
    api = types.SimpleNamespace(get_experiment_by_key=lambda key: experiment)
    monkeypatch.setattr(comet_ml, "API", lambda: api)
    tracker = CometLogger(run_id="key")
    assert (tracker.last_step("loss"), tracker.last_step("acc")) == (8, -1)


def test_an_experiment_that_is_not_started_is_an_error(monkeypatch):
    dead = types.SimpleNamespace(alive=False)
    monkeypatch.setattr(comet_ml, "start", lambda **options: dead)
    with pytest.raises(ConfigurationError, match="comet login"):
        ScriptedRun({"loss": [0.5]}).play(CometLogger())
