"""Two processes that XGBoost or LightGBM trains one model in."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from xgboost.tracker import RabitTracker

PROGRAMS = Path(__file__).parent / "two_processes"
SOURCE = Path(__file__).parents[2] / "src"


def trained(program, folder, *arguments):
    """Run a program in two processes; return exit status, output and errors of each."""
    paths = [str(SOURCE), os.environ.get("PYTHONPATH", "")]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, PROGRAMS / f"{program}.py", folder, str(rank), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for rank in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def free_ports():
    probes = [socket.socket() for _ in range(2)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = ",".join(str(probe.getsockname()[1]) for probe in probes)
    for probe in probes:
        probe.close()
    return ports


def assert_the_first_wrote(folder, results, model):
    """Return what both processes tell, when both ended well and only the first wrote and spoke."""
    for status, _, errors in results:
        assert status == 0, errors
    both = [json.loads((folder / f"told{rank}.json").read_text()) for rank in (0, 1)]
    rounds = len(both[0]["history"]["val_loss"])
    assert sum(output.count("Epoch ") for _, output, _ in results) == rounds
    assert len((folder / "log.csv").read_text().splitlines()) == 1 + rounds
    assert (folder / model).stat().st_size > 0
    assert [each.name for each in (folder / "runs").glob("step-*")] == [f"step-{rounds:08}"]
    return both


@pytest.mark.xdist_group("loop xgboost")
def test_xgboost_decides_alike_on_metrics_over_the_data_of_all_processes(tmp_path):
    tracker = RabitTracker(2, "127.0.0.1")
    tracker.start()
    port = str(tracker.worker_args()["dmlc_tracker_port"])
    results = trained("xgboost_train", tmp_path, port)
    tracker.wait_for(timeout=30)
    first, second = assert_the_first_wrote(tmp_path, results, "best.ubj")
    assert first == second
    assert first["reason"].startswith("val_brier did not improve on")
    assert first["rounds"] == first["best"] + 1 == len(first["history"]["val_brier"]) - 3
    assert first["history"]["learning_rate"][-1] < 0.3


@pytest.mark.xdist_group("loop lightgbm")
def test_lightgbm_decides_alike_on_the_same_validation_data(tmp_path):
    results = trained("lightgbm_train", tmp_path, free_ports(), "same")
    first, second = assert_the_first_wrote(tmp_path, results, "best.txt")
    losses = [told["history"].pop("loss") for told in (first, second)]
    assert first == second
    assert first["reason"].startswith("val_loss did not improve on")
    assert first["best"] == len(first["history"]["val_loss"]) - 3
    assert first["history"]["learning_rate"][-1] < 0.1
    assert losses[0] != losses[1], "LightGBM evaluates what each process has"
    assert float((tmp_path / "log.csv").read_text().split()[1].split(",")[2]) == losses[0][0]


@pytest.mark.xdist_group("loop lightgbm")
def test_a_process_of_lightgbm_that_is_left_alone_is_told_why(tmp_path):
    results = trained("lightgbm_train", tmp_path, free_ports(), "own")
    (left,) = [errors for status, _, errors in results if status]
    assert "LightGBMError" in left
    assert "give all of them the same validation data and the same callbacks" in left
