"""``callboard demo``: a training with all callbacks, to look at."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callboard._core import fs
from callboard.cli.arguments import is_installed, positive, require, seed
from callboard.curves import best_epoch_of, figure_of, write_figure
from callboard.demo import load_digits

if TYPE_CHECKING:
    from callboard.demo.training import Outcome, Paths

__all__ = ["add_to"]

_DESCRIPTION = """\
Train a small network on handwritten digits (MNIST) with all callbacks of the tutorial at once:
ModelCheckpoint, EarlyStopping, ReduceLROnPlateau, LearningRateScheduler, TensorBoard, CSVLogger,
TerminateOnNaN, ProgbarLogger, and one of its own that prints the learning rate.
"""
_EXAMPLES = """\
files below DIR:
  models/best_model.h5    the model of the best epoch
  logs/training_log.csv   the metrics of every epoch
  logs/fit/DATE-TIME/     event files for TensorBoard
  curves.png              the metrics as curves

examples:
  callboard demo
  callboard demo --epochs 5 --batch-size 128 --verbose 2
  callboard demo --data mnist.npz --out full-mnist
"""

_NOTE = (
    "Note: LearningRateScheduler and ReduceLROnPlateau both change the learning rate here, "
    "to show both.\nIn a training of your own choose one of them."
)


def add_to(commands: Any) -> None:
    """Add the command to the parsers of all commands."""
    parser = commands.add_parser(
        "demo",
        help="train a small network with all callbacks",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--epochs", type=positive, default=30, metavar="N", help="epochs at most (default: 30)")
    add(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help="MNIST in Keras's layout (default: 7,000 images that come with callboard)",
    )
    add(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder for the files (default: demo-output)",
    )
    add("--batch-size", type=positive, default=32, metavar="N", help="default: 32")
    add("--seed", type=seed, default=0, metavar="N", help="seed of all chance (default: 0)")
    add(
        "--verbose",
        type=int,
        choices=(0, 1, 2),
        default=1,
        help="0 the summary only, 1 live progress, 2 one line per epoch (default: 1)",
    )
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    require("torch", "h5py", "matplotlib")
    digits = load_digits(arguments.data)
    # PyTorch takes seconds to import: after all that can go wrong at once.
    from callboard.demo import training

    paths = training.Paths.below(arguments.out)
    fs.writable_file(paths.curves)  # the callbacks check the others
    if arguments.verbose:
        print(
            f"{len(digits.x_train):,} images to train on, {len(digits.x_test):,} to validate on.\n"
            f"{_NOTE}\n"
        )
    outcome = training.train(
        digits,
        paths,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        verbose=arguments.verbose,
    )
    history = outcome.history
    figure = figure_of(history.history, history.epoch, "callboard demo")
    write_figure(figure, paths.curves)
    print(_summary(outcome, paths))


def _summary(outcome: Outcome, paths: Paths) -> str:
    files = [paths.log, paths.journal, paths.events, paths.curves]
    if outcome.journal.of("saved"):
        files.insert(0, paths.model)
    how_to_get_it = "" if is_installed("tensorboard") else ' (pip install "callboard[tensorboard]")'
    root = paths.events.parent
    return "\n".join(
        [
            "",
            *_decisions(outcome),
            *_results(outcome),
            "",
            "Files:",
            *(f"  {path}" for path in files),
            "",
            "See the run as a page:",
            f"  callboard report {shlex.quote(str(paths.curves.parent))}",
            f"or in TensorBoard{how_to_get_it}:",
            f"  tensorboard --logdir {shlex.quote(str(root))}",
        ]
    )


def _decisions(outcome: Outcome) -> list[str]:
    """Return what the callbacks decided, but for what every epoch has."""
    told = [each for each in outcome.journal if each.action not in ("saved", "skipped")]
    lines = [f"  epoch {d.epoch + 1}: {d.callback} {d.action}: {d.cause}" for d in told]
    return ["What the callbacks decided, and why:", *lines, ""] if lines else []


def _results(outcome: Outcome) -> list[str]:
    """Return how good the best epoch was."""
    epochs, values = outcome.history.epoch, outcome.history.history
    best = best_epoch_of(values)
    if best is None:
        return ["No epoch had a finite loss."]
    number, score = epochs[best.at] + 1, outcome.evaluation
    accuracy = values["val_accuracy"][best.at]
    value = f"{best.name} {best.value:.4f}"
    return [
        f"Best epoch: {number} of {len(epochs)}, {value}, val_accuracy {accuracy:.4f}",
        f"Evaluated with its weights: loss {score['loss']:.4f}, accuracy {score['accuracy']:.4f}",
    ]
