"""Every snippet of docs/loops.md runs: each after a few lines that make the names it uses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "loops.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

# Made for all of them.
NAMES = """
import warnings
import numpy as np
from pathlib import Path
from callboard import Run
from callboard.callbacks import BackupAndRestore, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
random = np.random.default_rng(0)
x = random.normal(size=(300, 4)).astype("float32")
y = (x[:, 0] + random.normal(size=300) > 0).astype("int64")
x_train, y_train, x_test, y_test = x[:200], y[:200], x[200:], y[200:]
"""
TORCH = """
import torch
loss_fn = torch.nn.functional.cross_entropy
net = torch.nn.Linear(4, 2)
optimizer = torch.optim.Adam(net.parameters())
rows = torch.utils.data.TensorDataset(torch.tensor(x_train), torch.tensor(y_train))
loader = torch.utils.data.DataLoader(rows, 50)
"""
JAX = """
import jax, optax
from flax import nnx
state = {"params": jax.numpy.zeros((4, 2))}
def loss_of(params, x, y):
    return optax.losses.softmax_cross_entropy_with_integer_labels(x @ params, y).mean()
@jax.jit
def step(state, x, y):
    loss, gradients = jax.value_and_grad(loss_of)(state["params"], x, y)
    return {"params": state["params"] - 0.1 * gradients}, loss
train_loader, val_loader = [(x_train, y_train)] * 2, [(x_test, y_test)]
module = nnx.Sequential(nnx.Linear(4, 2, rngs=nnx.Rngs(0)), jax.nn.softmax)
"""
ACCELERATE = """
import os
os.environ["ACCELERATE_USE_CPU"] = "true"
"""
LIGHTNING = """
warnings.simplefilter("ignore")  # Lightning's, at small data
import lightning.pytorch
class Module(lightning.pytorch.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net
    def training_step(self, batch):
        loss = loss_fn(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch):
        self.log("val_loss", loss_fn(self.net(batch[0]), batch[1]))
    def configure_optimizers(self):
        return optimizer
"""
TRANSFORMERS = """
import functools, transformers
class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, x, labels):
        logits = self.net(x)
        return {"loss": loss_fn(logits, labels), "logits": logits}
model = Classifier()
examples = [{"x": torch.tensor(a), "labels": int(b)} for a, b in zip(x_train, y_train)]
arguments = transformers.TrainingArguments("out", num_train_epochs=3, eval_strategy="epoch",
    save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True)
Trainer = functools.partial(transformers.Trainer, train_dataset=examples, eval_dataset=examples)
"""
IGNITE = """
warnings.simplefilter("ignore")  # those of torch.jit, which Ignite uses
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Loss
trainer = create_supervised_trainer(net, optimizer, loss_fn)
evaluator = create_supervised_evaluator(net, {"loss": Loss(loss_fn)})
evaluate = lambda engine: evaluator.run(loader)
trainer.add_event_handler(Events.EPOCH_COMPLETED, evaluate)
"""
SKORCH = """
import skorch
nets = []
class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(net, torch.nn.Softmax(1))
class NeuralNetClassifier(skorch.NeuralNetClassifier):
    def __new__(cls, *arguments, **options):
        made = super().__new__(cls)
        nets.append(made)
        return made
"""
XGBOOST = """
import xgboost as xgb
settings = {"objective": "binary:logistic", "nthread": 1}
train, validation = xgb.DMatrix(x_train, y_train), xgb.DMatrix(x_test, y_test)
"""
LIGHTGBM = """
import lightgbm as lgb
settings = {"objective": "binary", "num_threads": 1, "verbosity": -1}
train = lgb.Dataset(x_train, y_train)
validation = lgb.Dataset(x_test, y_test, reference=train)
"""
CATBOOST = """
warnings.simplefilter("ignore")  # of the missing numba
import functools, catboost
CatBoostClassifier = functools.partial(catboost.CatBoostClassifier, verbose=False,
    allow_writing_files=False, learning_rate=0.5)
"""
SKLEARN = """
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
estimator, classes = MLPClassifier([8], random_state=0), [0, 1]
batches = [(x_train[:100], y_train[:100]), (x_train[100:], y_train[100:])]
validation = (x_test, y_test)
"""
# By a text that only one snippet has: what is made before, and what holds after.
CASES = {
    "run.state, loss = step": (
        JAX,
        """
losses = run.history.history["val_loss"]
assert losses[-1] < losses[0]
""",
    ),
    "from callboard.jax import Model": (
        JAX,
        """
assert model.history.history["val_accuracy"][0] > 0
""",
    ),
    "data_sharding=": (
        JAX + "from callboard.jax import Model\n",
        """
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x_train, y_train, batch_size=8 * jax.device_count(), verbose=0)
""",
    ),
    "accelerator.prepare": (
        TORCH + ACCELERATE,
        """
assert run.progress.step == 4 * len(run.history.epoch) > 0
""",
    ),
    "bridges.lightning": (
        TORCH + LIGHTNING,
        """
trainer.fit(Module(), loader, loader)
assert Path("best.safetensors").exists() and len(callbacks.history.epoch) == 20
""",
    ),
    "bridges.transformers": (
        TORCH + TRANSFORMERS,
        """
assert set(callbacks.history.history) >= {"loss", "val_loss"}
""",
    ),
    "bridges.ignite": (
        TORCH + IGNITE,
        """
trainer.run(loader, max_epochs=2)
assert trainer.state.epoch == 2
""",
    ),
    'saver = Checkpoint({"trainer"': (
        TORCH
        + IGNITE
        + """
from callboard.bridges.ignite import Callbacks
from ignite.handlers import Checkpoint
callbacks = Callbacks([EarlyStopping()], model=net, optimizer=optimizer)
callbacks.attach(trainer, evaluator)
""",
        """
trainer.run(loader, max_epochs=2)
assert set(torch.load(saver.last_checkpoint)) == {"trainer", "net", "callbacks"}
""",
    ),
    "bridges.skorch": (
        TORCH + SKORCH,
        """
used = nets[0].set_params(max_epochs=2, verbose=0).fit(x_train, y_train).callbacks[0]
assert set(used.history.history) >= {"loss", "val_loss"}
""",
    ),
    "bridges.xgboost": (
        XGBOOST,
        """
assert booster.num_boosted_rounds() == booster.best_iteration + 1 < 95
""",
    ),
    "bridges.lightgbm": (
        LIGHTGBM,
        """
assert lgb.Booster(model_file="best.txt").num_trees() == 100
assert callbacks.run.learning_rate < 0.1
""",
    ),
    "bridges.catboost": (
        CATBOOST,
        """
assert 0 < model.tree_count_ == len(callbacks.history.epoch) - 5
""",
    ),
    "EstimatorTrainable(estimator)": (
        SKLEARN,
        """
assert estimator.t_ == 200 * len(run.history.epoch) > 0
""",
    ),
    "set_callbacks": (
        SKLEARN,
        """
assert callbacks.history.history["val_accuracy"][-1] > 0.5
""",
    ),
}


def test_every_snippet_is_run_once():
    found = [[text for text in CASES if text in snippet] for snippet in SNIPPETS]
    assert found == [[text] for text in CASES]


@pytest.mark.parametrize("text", CASES)
def test_a_snippet_runs(tmp_path, text):
    before, after = CASES[text]
    snippet = next(snippet for snippet in SNIPPETS if text in snippet)
    script = tmp_path / "snippet.py"
    script.write_text(NAMES + before + snippet + after, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
