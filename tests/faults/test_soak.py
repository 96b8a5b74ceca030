"""Some of the kills that ``make soak`` does many of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_killed_at_random_moments_ends_as_if_it_had_not_been():
    # Another seed than that of ``make soak``, so that together they try more moments.
    command = [sys.executable, str(SOAK), "--trials", "20", "--seed", "1"]
    done = subprocess.run(
        command,
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("20 of 20 identical")
