"""What the programs beside this one train with in each process, and tell of it."""

import json
import sys
import warnings
from pathlib import Path

import torch

from callboard import callbacks

FOLDER = Path(sys.argv[1])
LOSSES = ([1.0, 0.5, 0.75, 0.75, 0.25], [1.0, 0.25, 0.5, 0.75, 0.0])  # of each process

warnings.simplefilter("ignore")  # of the hosts
torch.set_num_threads(1)


def used():
    return [
        callbacks.EarlyStopping("val_loss", patience=2),
        callbacks.ModelCheckpoint(
            FOLDER / "best.safetensors", monitor="val_loss", save_best_only=True
        ),
        callbacks.CSVLogger(FOLDER / "log.csv"),
        callbacks.TerminateOnNaN(),
    ]


def tell(rank, run, weights):
    told = {
        "epochs": run.history.epoch,
        "val_loss": run.history.history["val_loss"],
        "reason": run.stop_reason,
        "weights": [weight.flatten().tolist() for weight in weights],
    }
    (FOLDER / f"told{rank}.json").write_text(json.dumps(told))
