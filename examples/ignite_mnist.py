"""Keras's callbacks on Ignite's engines.

    python examples/ignite_mnist.py [--epochs 20]

Saves the best weights as ``best.safetensors`` in the current folder.
"""

import argparse

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callboard.bridges.ignite import Callbacks
from callboard.callbacks import EarlyStopping, ModelCheckpoint
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="Keras's callbacks on Ignite's engines.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

torch.manual_seed(0)
x_train, y_train, x_test, y_test = map(torch.from_numpy, load_digits())
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
val_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=500)

net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(net.parameters())
loss_fn = nn.CrossEntropyLoss()

trainer = create_supervised_trainer(net, optimizer, loss_fn)
evaluator = create_supervised_evaluator(
    net, metrics={"loss": Loss(loss_fn), "accuracy": Accuracy()}
)
trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run(val_loader))

callbacks = Callbacks(
    [
        EarlyStopping("val_accuracy", patience=3, restore_best_weights=True),
        ModelCheckpoint("best.safetensors", "val_accuracy", save_best_only=True),
    ],
    model=net,
    optimizer=optimizer,
).attach(trainer, evaluator)
trainer.run(train_loader, max_epochs=options.epochs)

print("\nWhat the callbacks decided, and why:")
print(callbacks.run.journal)
