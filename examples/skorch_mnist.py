"""Keras's callbacks in a net of skorch.

    python examples/skorch_mnist.py [--epochs 20]

Saves the best weights as ``best.safetensors`` in the current folder.
"""

import argparse

import torch
from skorch import NeuralNetClassifier
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

from callboard.bridges.skorch import Callbacks
from callboard.callbacks import EarlyStopping, ModelCheckpoint
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="Keras's callbacks in a net of skorch.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

torch.manual_seed(0)
x_train, y_train, x_test, y_test = load_digits()

with Callbacks(
    [
        EarlyStopping(patience=3, restore_best_weights=True),  # val_loss is skorch's valid_loss
        ModelCheckpoint("best.safetensors", save_best_only=True),
    ]
) as callbacks:
    NeuralNetClassifier(
        nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10)),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=64,
        max_epochs=options.epochs,
        train_split=predefined_split(Dataset(x_test, y_test)),
        callbacks=[callbacks],
        verbose=0,
    ).fit(x_train, y_train)

print("\nWhat the callbacks decided, and why:")
print(callbacks.run.journal)
