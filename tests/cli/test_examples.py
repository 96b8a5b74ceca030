import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("script", ["tutorial_torch.py", "tutorial_jax.py"])
def test_the_tutorials_script_trains_and_leaves_its_files(script, piped, tmp_path):
    # A file of its own, so that the argument is tested too, and small.
    digits = np.random.default_rng(0).integers(0, 256, (320, 28, 28), dtype=np.uint8)
    labels = np.arange(320, dtype=np.uint8) % 10
    np.savez(tmp_path / "mnist.npz", x_train=digits, y_train=labels, x_test=digits, y_test=labels)
    done = piped(EXAMPLES / script, "mnist.npz", "--epochs", "2", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Epoch 2: Learning rate is 0.001000" in done.stdout
    assert (tmp_path / "models" / "best_model.h5").exists()
    assert len(list((tmp_path / "logs" / "fit").glob("*/train/events.out.tfevents.*"))) == 1
    with (tmp_path / "logs" / "training_log.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]


def test_the_hand_written_loop_trains_and_tells_what_was_decided(piped, tmp_path):
    done = piped(EXAMPLES / "hand_written_loop.py", "--epochs", "2", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    decided = done.stdout.partition("What the callbacks decided, and why:\n")[2].splitlines()
    assert decided[0].startswith("epoch 1, step 94: ModelCheckpoint saved: val_loss improved")
    assert decided[-1].startswith("epoch 2, step 188: EarlyStopping restored")
    weights = load_file(tmp_path / "best.safetensors")
    assert {name: array.shape for name, array in weights.items()} == {
        "1.weight": (128, 784), "1.bias": (128,), "3.weight": (10, 128), "3.bias": (10,),
    }  # fmt: skip


def test_the_loop_on_jax_trains_and_tells_what_was_decided(piped, tmp_path):
    done = piped(EXAMPLES / "jax_loop.py", "--epochs", "2", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    decided = done.stdout.partition("What the callbacks decided, and why:\n")[2].splitlines()
    assert decided[0].startswith("epoch 1, step 150: ModelCheckpoint saved: val_loss improved")
    weights = load_file(tmp_path / "best.safetensors")
    assert {name: array.shape for name, array in weights.items()} == {
        "b1": (128,), "b2": (10,), "w1": (784, 128), "w2": (128, 10),
    }  # fmt: skip


# Each with the file that it leaves.
HOSTS = {
    "accelerate_mnist.py": "best.safetensors",
    "catboost_digits.py": "log.csv",
    "ignite_mnist.py": "best.safetensors",
    "lightgbm_digits.py": "best.txt",
    "lightning_mnist.py": "best.safetensors",
    "sklearn_digits.py": "best.safetensors",
    "skorch_mnist.py": "best.safetensors",
    "transformers_mnist.py": "best.safetensors",
    "xgboost_digits.py": "best.ubj",
}


@pytest.mark.parametrize("name", HOSTS)
def test_the_loops_of_other_libraries_train_and_tell_what_was_decided(name, tmp_path):
    done = subprocess.run(  # warnings of the libraries at their own code are not errors
        [sys.executable, str(EXAMPLES / name), "--epochs", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    decided = done.stdout.partition("What the callbacks decided")[2]
    assert "epoch 2, step" in decided
    assert (tmp_path / HOSTS[name]).exists()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_say_how_they_are_run(path):
    assert f"python examples/{path.name}" in path.read_text()
