"""The loops that the contracts are tested on: one file each in ``loops``, one line each here."""

import importlib.util
import warnings
from pathlib import Path

import pytest

# Each with the warnings that its library gives at its own code.
LOOPS = {
    "run": [],
    "torch_model": [],
    "jax_model": [],
    "keras": [],
    "transformers": [],
    "accelerate": [],
    "partial_fit": [],
    "sklearn": ["ignore:lbfgs failed to converge"],
    "skorch": [],
    "ignite": [],
    "catboost": ["ignore:Failed to import numba", "ignore:Can.t optimze method"],
    "lightgbm": [],
    "xgboost": [],
    "lightning": [
        "ignore:.*LeafSpec:FutureWarning",
        "ignore:.*does not have many workers",
        "ignore:The number of training batches",
    ],
}


class Script:
    """What a training is to log: one value for each epoch, and one for its validation.

    Args:
        losses: Losses by epoch.
        val_losses: Those of the validations.
        batches: Batches in an epoch.
        failure: Raised in the training of the second epoch.
    """

    def __init__(self, losses, val_losses=None, batches=2, failure=None):
        self.losses = losses
        self.val_losses = val_losses or losses
        self.batches = batches
        self.failure = failure
        self.trained = self.validated = 0

    @property
    def epochs(self):
        return len(self.losses)

    def train(self):
        """Return the loss of the next training batch."""
        if self.failure is not None and self.trained == self.batches:
            raise self.failure
        loss = self.losses[self.trained // self.batches]
        self.trained += 1
        return loss

    def validate(self):
        """Return the loss of the next validation, of one batch."""
        loss = self.val_losses[self.validated]
        self.validated += 1
        return loss


def load(name):
    path = Path(__file__).parent / "loops" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"loop_{name}", path)
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():  # what libraries warn of while they are imported
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def parameter(name):
    """Return a loop's parameter; loops have a group each, so that one process imports each."""
    ignored = [pytest.mark.filterwarnings(text) for text in LOOPS[name]]
    return pytest.param(name, marks=[pytest.mark.xdist_group(f"loop {name}"), *ignored])


@pytest.fixture(params=[parameter(name) for name in LOOPS])
def loop(request, tmp_path, monkeypatch):
    """A loop: ``given(callbacks)`` is passed to ``train(given, script)``, which returns the run."""
    monkeypatch.chdir(tmp_path)
    return load(request.param)


@pytest.fixture
def reference():
    """``Run`` around a loop written by hand, whose behavior is the one to compare with."""
    return load("run")


@pytest.fixture
def script():
    """The class of what a training is to log."""
    return Script
