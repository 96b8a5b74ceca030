"""The tutorial's training, on PyTorch, with all of its callbacks at once."""

from __future__ import annotations

import contextlib
import datetime as dt
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from callboard._core.callback import Callback
from callboard._core.checks import ConfigurationWarning
from callboard._core.history import History
from callboard._core.journal import Journal
from callboard._core.logs import Logs
from callboard.callbacks import (
    CSVLogger,
    EarlyStopping,
    JSONLLogger,
    LearningRateScheduler,
    ModelCheckpoint,
    ProgbarLogger,
    ReduceLROnPlateau,
    TensorBoard,
    TerminateOnNaN,
)
from callboard.demo.digits import Digits
from callboard.torch import Model

__all__ = [
    "Outcome",
    "Paths",
    "PrintLearningRateCallback",
    "compiled_model",
    "lr_schedule",
    "network",
    "train",
    "tutorial_callbacks",
]


class Paths(NamedTuple):
    """Where the demo's files go.

    Attributes:
        model: The best model.
        log: Metrics of every epoch, as CSV.
        journal: The same as JSON, with configuration and decisions.
        events: Folder of this run's TensorBoard event files.
        curves: The curves, as an image.
    """

    model: Path
    log: Path
    journal: Path
    events: Path
    curves: Path

    @classmethod
    def below(cls, folder: Path) -> Paths:
        """Return the paths below a folder, with a name for the events that says when."""
        now = dt.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        return cls(
            model=folder / "models" / "best_model.h5",
            log=folder / "logs" / "training_log.csv",
            journal=folder / "logs" / "journal.jsonl",
            events=folder / "logs" / "fit" / now,
            curves=folder / "curves.png",
        )


class Outcome(NamedTuple):
    """What came of the training.

    Attributes:
        history: The metrics of every epoch.
        journal: What the callbacks decided, and why.
        evaluation: Loss and accuracy of the weights that training ended with, on the test images.
    """

    history: History
    journal: Journal
    evaluation: dict[str, float]


class PrintLearningRateCallback(Callback):
    """Print the learning rate after every epoch: the tutorial's own callback, unchanged."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:  # noqa: ARG002 - the hook's
        """Print the optimizer's learning rate."""
        lr = self.model.optimizer.lr.numpy()
        print(f"\nEpoch {epoch + 1}: Learning rate is {lr:.6f}")  # noqa: T201 - its purpose


def lr_schedule(epoch: int, lr: float) -> float:
    """Return half the rate every ten epochs: the tutorial's schedule."""
    if epoch % 10 == 0 and epoch != 0:
        return lr * 0.5
    return lr


def network() -> nn.Sequential:
    """Return the tutorial's network: images (batch, 28, 28) to probabilities (batch, 10)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(28 * 28, 128),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
        nn.Softmax(dim=1),
    )


def compiled_model() -> Model:
    """Return a model of a new network, compiled as the tutorial does."""
    model = Model(network())
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(
    digits: Digits,
    paths: Paths,
    *,
    epochs: int,
    batch_size: int = 32,
    seed: int = 0,
    verbose: int = 1,
) -> Outcome:
    """Train the tutorial's network with all of its callbacks, and evaluate it.

    Args:
        digits: What to train and to validate on.
        paths: Where the callbacks write.
        epochs: Epochs, unless a callback ends the training before.
        batch_size: Images in a batch.
        seed: Seed of weights, dropout and the order of the images.
        verbose: 0 silent, 1 live progress, 2 one line per epoch.
    """
    torch.manual_seed(seed)
    model = compiled_model()
    kept = _KeptJournal()
    with _one_thread(), warnings.catch_warnings():
        # Meant here: the demo shows all callbacks, the two that change the learning rate included.
        warnings.filterwarnings("ignore", ".* both change", ConfigurationWarning)
        history = model.fit(
            digits.x_train,
            digits.y_train,
            validation_data=(digits.x_test, digits.y_test),
            epochs=epochs,
            batch_size=batch_size,
            verbose=verbose,
            callbacks=[
                *tutorial_callbacks(paths, min(verbose, 1)),
                JSONLLogger(paths.journal, journal=True),
                kept,
            ],
        )
        evaluation = model.evaluate(digits.x_test, digits.y_test, verbose=0, return_dict=True)
    return Outcome(history, kept.journal, evaluation)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: for so small a network more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def tutorial_callbacks(paths: Paths, verbose: int) -> list[Any]:
    """Return the tutorial's callbacks, writing to these paths."""
    printing = [PrintLearningRateCallback(), ProgbarLogger()] if verbose else []
    return [
        ModelCheckpoint(
            filepath=paths.model,
            monitor="val_loss",
            save_best_only=True,
            mode="min",
            verbose=verbose,
        ),
        EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True),
        ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=3, min_lr=1e-7, verbose=verbose),
        LearningRateScheduler(lr_schedule),
        TensorBoard(log_dir=paths.events, histogram_freq=1),
        CSVLogger(paths.log),
        TerminateOnNaN(),
        *printing,
    ]


class _KeptJournal(Callback):
    """Keeps the run's journal for after the run."""

    def on_train_begin(self, logs: Logs | None = None) -> None:  # noqa: ARG002 - the hook's
        self.journal = self.run.journal
