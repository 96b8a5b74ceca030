"""``Run(state=...)`` in several processes that train one state."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import callboard

PROGRAM = Path(__file__).with_name("in_two_processes.py")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def started(port, rank, folder):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(callboard.__file__).parents[1]),
    }
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(port), str(rank), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_decide_alike_and_one_of_them_writes(tmp_path):
    port = free_port()
    processes = [started(port, rank, tmp_path) for rank in (0, 1)]
    try:
        told = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], told
    first, second = (out.splitlines()[-1] for out, _ in told)
    assert first == second
    # They know 4, 2, 3, 3 and 2, 2, 0, 5, 5: alone one would stop before the other.
    assert "'val_score': [3.0, 2.0, 1.5, 4.0, 4.0]" in first
    assert "'learning_rate': [0.125, 0.125, 0.125, 0.125, 0.0625]" in first
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.h5", "log.csv"]
