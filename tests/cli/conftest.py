import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def piped():
    """Run a Python program whose output goes into pipes, with warnings as errors."""

    def run(*arguments, folder, timeout=120):
        return subprocess.run(
            [sys.executable, "-W", "error", *map(str, arguments)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            # Threads of PyTorch slow a small network down where tests share the machine's cores.
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"},
        )

    return run
