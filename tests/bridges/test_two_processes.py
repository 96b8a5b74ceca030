"""Two processes that a host trains one model in: they decide alike, and the first one writes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "two_processes"
SOURCE = Path(__file__).parents[2] / "src"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(folder):
    paths = [str(SOURCE), os.environ.get("PYTHONPATH", "")]
    return {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HOME": str(folder),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def started(program, folder, **variables):
    return subprocess.Popen(
        [sys.executable, str(PROGRAMS / f"{program}.py"), str(folder)],
        env=environment(folder) | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def finished(processes):
    """Return what they print, when all have ended well."""
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return "".join(out for out, _ in outputs)


def trained_by_itself(program, folder):
    """Run a program that starts its processes."""
    return finished([started(program, folder)])


def trained_as_torchrun_does(program, folder):
    """Run a program once for each process, with torchrun's variables."""
    port = str(free_port())
    shared = {"MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
    return finished([started(program, folder, **shared, **rank) for rank in ranks])


def assert_decided_alike(folder, shown):
    first, second = (json.loads((folder / f"told{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    # The means of both validations: two epochs without an improvement.
    assert first["val_loss"] == pytest.approx([1.0, 0.375, 0.625, 0.75])
    assert first["reason"] == "val_loss did not improve on 0.375 for 2 epochs"
    assert len((folder / "log.csv").read_text().splitlines()) == 5
    assert b'"layer.weight"' in (saved := (folder / "best.safetensors").read_bytes()) or (
        b'"weight"' in saved
    ), "without the name of the wrapper"
    assert shown.count("Epoch ") == 4
    return first


@pytest.mark.xdist_group("loop lightning")
def test_lightning_starts_processes_with_pickled_callbacks(tmp_path):
    shown = trained_by_itself("lightning_spawn", tmp_path)
    told = assert_decided_alike(tmp_path, shown)
    parent = json.loads((tmp_path / "parent.json").read_text())
    assert parent["weights"] == told["weights"]
    assert "in this process" in parent["run"]


@pytest.mark.xdist_group("loop ignite")
def test_ignites_parallel(tmp_path):
    assert_decided_alike(tmp_path, trained_by_itself("ignite_parallel", tmp_path))


@pytest.mark.xdist_group("loop transformers")
def test_the_trainer_of_hugging_face(tmp_path):
    shown = trained_as_torchrun_does("transformers_trainer", tmp_path)
    assert_decided_alike(tmp_path, shown)


@pytest.mark.xdist_group("loop accelerate")
def test_run_under_accelerate(tmp_path):
    shown = trained_as_torchrun_does("accelerate_run", tmp_path)
    assert_decided_alike(tmp_path, shown)
