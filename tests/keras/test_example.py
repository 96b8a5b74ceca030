"""The tutorial's script, as a user runs it."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

EXAMPLE = Path(__file__).parents[2] / "examples" / "tutorial_keras.py"
# TensorFlow is hidden where it is not the backend: it must not be needed.
HIDDEN = (
    "import runpy, sys; {}sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
)


def test_the_tutorials_script_trains_and_leaves_its_files(tmp_path):
    digits = np.random.default_rng(0).integers(0, 256, (320, 28, 28), dtype=np.uint8)
    labels = np.arange(320, dtype=np.uint8) % 10
    np.savez(tmp_path / "mnist.npz", x_train=digits, y_train=labels, x_test=digits, y_test=labels)
    hide = "" if keras.backend.backend() == "tensorflow" else "sys.modules['tensorflow'] = None; "
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN.format(hide), EXAMPLE, "mnist.npz", "--epochs", "2"],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": keras.backend.backend(), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Epoch 2: Learning rate is 0.001000" in done.stdout
    assert "Warning" not in done.stderr
    loaded = keras.saving.load_model(tmp_path / "models" / "best_model.h5", compile=False)
    assert loaded.output_shape == (None, 10)
    assert len(list((tmp_path / "logs" / "fit").glob("*/train/events.out.tfevents.*"))) == 1
    with (tmp_path / "logs" / "training_log.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]


def test_it_says_how_it_is_run():
    assert "python examples/tutorial_keras.py" in EXAMPLE.read_text()
