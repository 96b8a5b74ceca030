"""``Model(data_sharding=...)``: each batch is shared by several devices."""

import os
import subprocess
import sys
from pathlib import Path

import callboard

CHECKS = Path(__file__).with_name("on_eight_devices.py")
ROOT = Path(__file__).parents[2]


def test_on_eight_devices(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(callboard.__file__).parents[1]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        # Models of several tests are the same program.
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CHECKS)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
