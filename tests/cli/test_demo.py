import csv
import re
import shutil
import sys
import warnings

import numpy as np
import pexpect
import pyte
import pytest

import callboard
from callboard import DataError, FileFormatError
from callboard.cli import main
from callboard.demo import load_digits
from callboard.demo.training import compiled_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SUMMARY = re.compile(
    r"Best epoch: (\d) of 2, val_loss (0\.\d{4}), val_accuracy (0\.\d{4})\s+"
    r"Evaluated with its weights: loss \2, accuracy \3"
)


@pytest.fixture(scope="module")
def spawned():
    """Start the demo on a terminal of 24 lines and 110 columns; it is ended after the tests."""
    children = []

    def spawn(folder):
        child = pexpect.spawn(
            sys.executable,
            ["-W", "error", "-m", "callboard", "demo", "--epochs", "2", "--batch-size", "64"],
            cwd=str(folder),
            dimensions=(24, 110),
            encoding="utf-8",
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        )
        children.append(child)
        return child

    yield spawn
    for child in children:
        child.close(force=True)


@pytest.fixture(scope="module")
def demo(piped, tmp_path_factory):
    """A demo of two epochs that wrote into pipes: the process, and the folder of its files."""
    folder = tmp_path_factory.mktemp("piped")
    done = piped("-m", "callboard", "demo", "--epochs", "2", "--out", "a b", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, folder / "a b"


@pytest.fixture
def mnist_file(tmp_path):
    """Write a small file in Keras's layout, with some of its arrays replaced."""

    def write(**replaced):
        arrays = {
            "x_train": np.zeros((20, 28, 28), np.uint8),
            "y_train": np.arange(20, dtype=np.uint8) % 10,
            "x_test": np.zeros((10, 28, 28), np.uint8),
            "y_test": np.arange(10, dtype=np.uint8),
        }
        kept = {name: value for name, value in (arrays | replaced).items() if value is not None}
        np.savez(tmp_path / "mnist.npz", **kept)
        return tmp_path / "mnist.npz"

    return write


def rows(folder):
    with (folder / "logs" / "training_log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def events(folder, part):
    (run,) = (folder / "logs" / "fit").iterdir()
    accumulator = EventAccumulator(str(run / part))
    accumulator.Reload()
    return accumulator


# ---- what it shows -------------------------------------------------------------------------------


def test_on_a_terminal_it_is_live_and_ends_with_the_summary(spawned, tmp_path):
    child = spawned(tmp_path)
    shown = child.read()
    child.close()
    assert child.exitstatus == 0
    assert "━" in shown
    screen = pyte.Screen(110, 24)
    pyte.Stream(screen).feed(shown)
    text = "\n".join(line.rstrip() for line in screen.display)
    assert SUMMARY.search(text)
    assert "━" not in text  # the bar has given way to the final line
    assert "tensorboard --logdir demo-output/logs/fit" in text
    assert not screen.cursor.hidden


def test_ctrl_c_is_quiet_and_has_the_shells_status(spawned, tmp_path):
    child = spawned(tmp_path)
    child.expect("━")
    child.sendintr()
    rest = child.read()
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in rest
    assert "Error" not in rest
    assert "\x1b[?25l" not in rest  # the cursor was never hidden
    assert not list(tmp_path.rglob("*.tmp"))


def test_into_a_pipe_it_writes_plain_lines(demo):
    output, _ = demo
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", output)
    assert len(re.findall(r"^Epoch \d/2 - 188/188 - ", output, re.MULTILINE)) == 2
    assert "Epoch 2: Learning rate is 0.001000" in output
    assert "Epoch 1: val_loss improved from" in output
    assert SUMMARY.search(output)


def test_both_controllers_of_the_learning_rate_are_explained_in_a_note(demo):
    output, _ = demo
    assert output.count("LearningRateScheduler and ReduceLROnPlateau both change") == 1


def test_command_to_see_tensorboard_can_be_pasted(demo):
    output, _ = demo
    assert output.endswith("tensorboard --logdir 'a b/logs/fit'\n")


def test_without_progress_there_is_the_summary_only(mnist_file, tmp_path, capsys):
    arguments = ["demo", "--data", mnist_file(), "--out", tmp_path / "out", "--epochs", 1]
    assert main([*map(str, arguments), "--verbose", "0"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("\nWhat the callbacks decided, and why:\n  epoch 1: EarlyStopping")
    assert "Best epoch: 1 of 1" in output


# ---- what it leaves ------------------------------------------------------------------------------


def test_log_has_a_row_for_each_epoch(demo):
    _, folder = demo
    assert [row["epoch"] for row in rows(folder)] == ["0", "1"]
    assert set(rows(folder)[0]) == {
        "epoch", "accuracy", "learning_rate", "loss", "val_accuracy", "val_loss",
    }  # fmt: skip


def test_saved_model_evaluates_as_the_best_epoch_did(demo):
    _, folder = demo
    best = min(rows(folder), key=lambda row: float(row["val_loss"]))
    model = compiled_model()
    model.load(folder / "models" / "best_model.h5")
    digits = load_digits()
    scores = model.evaluate(digits.x_test, digits.y_test, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(float(best["val_loss"]), rel=1e-5)
    assert scores["accuracy"] == float(best["val_accuracy"])
    assert scores["accuracy"] > 0.8


def test_tensorboard_gets_metrics_and_histograms_of_weights_and_activations(demo):
    _, folder = demo
    train, validation = events(folder, "train"), events(folder, "validation")
    losses = [event.value for event in validation.Scalars("epoch_loss")]
    assert losses == pytest.approx([float(row["val_loss"]) for row in rows(folder)])
    assert [event.step for event in train.Scalars("epoch_loss")] == [0, 1]
    tags = train.Tags()["tensors"]
    for layer in ("1.weight/histogram", "1/activations/histogram"):
        assert layer in tags
        assert len(train.Tensors(layer)) == 2


def test_curves_are_an_image(demo):
    _, folder = demo
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_report_of_it_tells_all(demo, tmp_path):
    _, folder = demo
    page = callboard.report(folder, tmp_path / "page.html").read_text("utf-8")
    assert "Sequential, 101,770 parameters, optimizer Adam" in page
    assert '<th scope="row">EarlyStopping patience</th><td>5</td>' in page
    assert "<h2>Decisions</h2>" in page
    assert "<h2>Environment</h2>" in page


def test_nothing_else_is_left(demo):
    _, folder = demo
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("events.out.tfevents.")} == {
        "best_model.h5", "training_log.csv", "journal.jsonl", "curves.png",
    }  # fmt: skip


# ---- its data ------------------------------------------------------------------------------------


def test_packaged_digits_are_scaled_and_have_every_digit_in_its_share():
    digits = load_digits()
    assert digits.x_train.shape == (6000, 28, 28)
    assert digits.x_test.shape == (1000, 28, 28)
    assert digits.x_train.dtype == np.float32
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 1)
    # In the full set the share of a digit is between 8.9 % (5) and 11.4 % (1).
    for labels in (digits.y_train, digits.y_test):
        shares = np.bincount(labels, minlength=10) / len(labels)
        assert 0.088 < shares.min() < shares.max() < 0.115


def test_file_in_keras_layout_is_taken(mnist_file):
    digits = load_digits(mnist_file())
    assert len(digits.x_train) == 20
    assert digits.y_test.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"x_test": None, "y_test": None}, "lacks x_test, y_test; it has x_train, y_train"),
        ({"x_train": np.zeros((20, 784), np.uint8)}, r"x_train .* shape \(20, 784\)"),
        ({"x_train": np.zeros((20, 28, 28))}, "x_train .* got float64"),
        ({"x_test": np.zeros((0, 28, 28), np.uint8)}, r"x_test .* shape \(0, 28, 28\)"),
        ({"y_train": np.zeros(19, np.uint8)}, r"y_train .* each of 20 images; .* \(19,\)"),
        ({"y_test": np.arange(1, 11)}, "y_test .* 0 to 9"),
        ({"y_test": np.zeros(10)}, "y_test .* got float64"),
    ],
)
def test_wrong_arrays_are_named(replaced, said, mnist_file):
    with pytest.raises(DataError, match=said):
        load_digits(mnist_file(**replaced))


def test_pickled_objects_are_refused(mnist_file):
    with pytest.raises(FileFormatError, match="allow_pickle"):
        load_digits(mnist_file(y_test=np.array([None] * 10)))


@pytest.mark.parametrize("damage", ["text", "cut", "flipped", "empty", "one array"])
def test_damaged_file_is_one_line_and_status_1(damage, mnist_file, capsys, tmp_path):
    path = mnist_file()
    content = path.read_bytes()
    flipped = content.replace(bytes(range(10)), bytes(10))
    damaged = {"text": b"epoch,loss", "cut": content[:-40], "flipped": flipped, "empty": b""}
    if damage == "one array":
        np.save(tmp_path / "one.npy", np.zeros(3))
        shutil.move(tmp_path / "one.npy", path)
    else:
        path.write_bytes(damaged[damage])
    assert main(["demo", "--data", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"callboard: error: '{path}' ")
    assert error.count("\n") == 1
