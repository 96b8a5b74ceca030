"""The documentation: its examples run, its links lead somewhere, both READMEs say the same."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from callboard import callbacks

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]

# What the examples take as given: data, and a network with its optimizer and loaders.
PREAMBLE = """
import warnings
warnings.simplefilter("error")
import numpy as np, torch
from pathlib import Path
import callboard
with np.load(Path(callboard.__file__).parent / "demo" / "mnist.npz") as file:
    x_train, y_train = file["x_train"][:640] / 255.0, file["y_train"][:640]
    x_test, y_test = file["x_test"][:200] / 255.0, file["y_test"][:200]
net = torch.nn.Linear(4, 3)
opt = torch.optim.Adam(net.parameters())
loss_fn = torch.nn.functional.cross_entropy
train_loader = val_loader = [(torch.randn(8, 4), torch.randint(3, (8,))) for _ in range(3)]
"""

AFTER = """
assert history.history["loss"][-1] < history.history["loss"][0]
assert Path("models/best_model.h5").exists() and Path("logs/training_log.csv").exists()
assert len(run.history.history["val_loss"]) >= 4 and Path("best.safetensors").exists()
from callboard.testing import ScriptedRun
model.fit(x_train, y_train, callbacks=[PrintLearningRate()], verbose=0)
"""


def blocks(page, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run_in(folder, source):
    script = folder / "example.py"
    script.write_text(source, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=200,
    )


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_examples_of_the_readme_run(page, tmp_path):
    ran = run_in(tmp_path, PREAMBLE + "\n".join(blocks(page)) + AFTER)
    assert ran.returncode == 0, ran.stderr
    assert "Epoch 1/20" in ran.stdout
    assert re.search(r"^Epoch 1: learning rate is 0\.\d{6}$", ran.stdout, re.MULTILINE)


def test_the_callback_of_the_architecture_page_does_what_its_test_says(tmp_path):
    (example,) = blocks(ROOT / "docs" / "architecture.md")
    test = "from callboard.testing import ScriptedRun\nassert " + next(
        line.split("`")[1]
        for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
        if "ScriptedRun([0.9" in line
    )
    ran = run_in(tmp_path, example + test)
    assert ran.returncode == 0, ran.stderr


def test_both_readmes_have_the_same_code():
    english, chinese = (blocks(page) for page in READMES)
    assert english == chinese
    assert len(english) == 5


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_table_of_callbacks_is_complete(page):
    rows = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(callbacks.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def test_the_examples_of_the_durability_page_run(tmp_path):
    model = "model = Model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)))\n"
    given = (
        "from callboard.torch import Model\n"
        f"{model}model.compile('adam', torch.nn.CrossEntropyLoss())\n"
    )
    after = "assert newest['note'] and [c.step for c in store.checkpoints()] == [1000, 1500]\n"
    page = ROOT / "docs" / "durability.md"
    ran = run_in(tmp_path, PREAMBLE + given + "\n".join(blocks(page)) + after)
    assert ran.returncode == 0, ran.stderr
    assert len((tmp_path / "runs" / "a" / "log.csv").read_text().splitlines()) == 4


def test_the_examples_of_the_tensorboard_page_run(tmp_path):
    page = ROOT / "docs" / "tensorboard.md"
    after = (
        "assert list(Path('logs/by hand').glob('events.*')) and tensorboard.update_freq == 100\n"
    )
    ran = run_in(tmp_path, PREAMBLE + "\n".join(blocks(page)) + after)
    assert ran.returncode == 0, ran.stderr


def test_the_example_of_the_progress_page_runs(tmp_path):
    (example,) = blocks(ROOT / "docs" / "progress.md")
    ran = run_in(tmp_path, example)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Epoch") == 2


def test_the_examples_of_the_trackers_page_run(tmp_path):
    for package in ("aim", "comet_ml", "mlflow", "wandb"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    given = (
        "warnings.simplefilter('ignore')  # those of SQLAlchemy, which Aim and MLflow use\n"
        "from callboard.torch import Model\n"
        "model = Model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)))\n"
        "model.compile('adam', torch.nn.CrossEntropyLoss())\n"
        "import os\n"
        "os.environ.update(MLFLOW_DISABLE_TELEMETRY='true', DO_NOT_TRACK='true',\n"
        "    WANDB_ERROR_REPORTING='false', AIM_UI_TELEMETRY_ENABLED='0',\n"
        "    COMET_ERROR_TRACKING_ENABLE='false')\n"
    )
    after = "assert Path('tracked/run-1/status.txt').read_text() == 'finished'\n"
    ran = run_in(
        tmp_path, PREAMBLE + given + "\n".join(blocks(ROOT / "docs" / "trackers.md")) + after
    )
    assert ran.returncode == 0, ran.stderr
    made = {path.name for path in tmp_path.iterdir()}
    assert made >= {"mlflow.db", "wandb", "runs", "comet", "models", "tracked"}


def test_the_examples_of_the_keras_page_run(tmp_path):
    if importlib.util.find_spec("keras") is None:
        pytest.skip("needs keras")
    given = (
        "import os\n"
        "os.environ['KERAS_BACKEND'] = 'torch'\n"
        "warnings.filterwarnings('ignore', '__array__ implementation')  # Keras, reading tensors\n"
        "import keras\n"
        "layers = [keras.layers.Flatten(), keras.layers.Dense(10, activation='softmax')]\n"
        "model = keras.Sequential([keras.Input((28, 28)), *layers])\n"
        "model.compile('adam', 'sparse_categorical_crossentropy', metrics=['accuracy'])\n"
    )
    after = (
        "assert Path('models/best.keras').exists() and len(group.history.epoch) > 5\n"
        "assert Path('runs/b').is_dir() and len(history.history['val_loss']) == 20\n"
    )
    page = ROOT / "docs" / "keras.md"
    ran = run_in(tmp_path, PREAMBLE + given + "\n".join(blocks(page)) + after)
    assert ran.returncode == 0, ran.stderr


def test_the_examples_of_the_reports_page_run(tmp_path):
    after = "assert result.epochs_saved == 2 and len(sweep) == 4\n"
    ran = run_in(tmp_path, "\n".join(blocks(ROOT / "docs" / "reports.md")) + after)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "curves.png").stat().st_size > 0
    assert "epoch 4, step 0: EarlyStopping stopped: val_loss did not" in ran.stdout


def test_there_is_no_page_whose_examples_are_not_run():
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py"))
    pages = [page.name for page in PAGES if blocks(page)]
    assert len(pages) >= 10
    assert [name for name in pages if f'"{name}"' not in tests] == []
