"""Everything a store does, killed at every single call that changes files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")
# How many calls there are at least: fewer, and the shim does not see them.
CALLS = {
    "save": {"before": 50, "after": 50, "half": 8},
    "first save": {"before": 40, "half": 8},
    "save with the best": {"before": 60, "half": 8},
    "same step": {"before": 25, "half": 4},
    "set aside": {"before": 25, "half": 4},
    "clear": {"before": 20, "half": 1},
}

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="LD_PRELOAD is of Linux"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler here"),
]


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that counts calls, and kills."""
    path = tmp_path_factory.mktemp("shim") / "shim.so"
    compiling = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(path), str(HERE / "kill_shim.c")]
    subprocess.run([*compiling, "-ldl"], check=True, capture_output=True)
    return path


@pytest.mark.parametrize("act", CALLS)
def test_every_call_can_be_the_last(tmp_path, shim, act):
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "kill_points.py", tmp_path / "stores", act],
        env={**environment, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = dict(re.findall(rf"{act}/(\w+): (\d+) calls", done.stdout))
    assert counted.keys() == CALLS[act].keys()
    for mode, least in CALLS[act].items():
        assert int(counted[mode]) >= least
