"""A save and a removal, killed at every single call that changes files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="LD_PRELOAD is of Linux")
@pytest.mark.skipif(COMPILER is None, reason="no C compiler here")
def test_every_call_of_a_save_and_a_removal_can_be_the_last(tmp_path):
    shim = tmp_path / "shim.so"
    compiling = [COMPILER, "-shared", "-fPIC", "-O1", "-o", str(shim), str(HERE / "kill_shim.c")]
    subprocess.run([*compiling, "-ldl"], check=True, capture_output=True)
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "kill_points.py"), str(tmp_path / "stores")],
        env={**environment, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    calls = {mode: int(count) for mode, count in re.findall(r"(\w+): (\d+) calls", done.stdout)}
    assert calls.keys() == {"before", "after", "half"}
    assert min(calls.values()) > 25  # the shim saw the calls of a whole save and removal
