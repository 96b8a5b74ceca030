"""Keras's callbacks in a Lightning Trainer.

    python examples/lightning_mnist.py [--epochs 20]

Saves the best weights as ``best.safetensors`` in the current folder.
"""

import argparse

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callboard.bridges.lightning import Callbacks
from callboard.callbacks import EarlyStopping, ModelCheckpoint
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="Keras's callbacks in a Lightning Trainer.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        layers = nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10)
        self.net = nn.Sequential(*layers)

    def training_step(self, batch, _index):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _index):
        x, y = batch
        self.log("val_loss", nn.functional.cross_entropy(self.net(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


torch.manual_seed(0)
x_train, y_train, x_test, y_test = map(torch.from_numpy, load_digits())

callbacks = Callbacks(
    [
        EarlyStopping(patience=3, restore_best_weights=True),
        ModelCheckpoint("best.safetensors", save_best_only=True),
    ]
)
trainer = pl.Trainer(
    max_epochs=options.epochs,
    callbacks=[callbacks],
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(
    Classifier(),
    DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True),
    DataLoader(TensorDataset(x_test, y_test), batch_size=500),
)

print("\nWhat the callbacks decided, and why:")
print(callbacks.run.journal)
