"""Gives the tests of bridges the loops that the contracts are tested on."""

import importlib.util
import warnings
from pathlib import Path

import pytest

from callboard import Callback

# Programs for processes of their own; examples in docstrings are not looked for in them.
collect_ignore = ["two_processes"]


class Losses:
    """What a training is to log, by epochs that may begin with a later one."""

    def __init__(self, losses, batches=2, epoch=0):
        self.losses = losses
        self.batches = batches
        self.trained = epoch * batches
        self.validated = epoch

    def train(self):
        self.trained += 1
        return self.losses[(self.trained - 1) // self.batches]

    def validate(self):
        self.validated += 1
        return self.losses[self.validated - 1]


@pytest.fixture
def losses():
    return Losses


@pytest.fixture
def host():
    """Return the module of a loop of the contracts."""

    def load(name):
        path = Path(__file__).parents[1] / "contracts" / "loops" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"loop_{name}", path)
        module = importlib.util.module_from_spec(spec)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec.loader.exec_module(module)
        return module

    return load


class StopAtEpoch(Callback):
    """Asks for the end when an epoch begins."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            self.run.stop("enough")


@pytest.fixture
def stop_at_epoch():
    return StopAtEpoch
