"""Callbacks in a loop of one's own that Accelerate prepares.

    python examples/accelerate_mnist.py [--epochs 20]

Saves the best weights as ``best.safetensors`` in the current folder.
"""

import argparse

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callboard import Run
from callboard.callbacks import EarlyStopping, ModelCheckpoint
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="Callbacks in a loop that Accelerate prepares.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

torch.manual_seed(0)
x_train, y_train, x_test, y_test = map(torch.from_numpy, load_digits())
net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10))
loss_fn = nn.CrossEntropyLoss()

accelerator = Accelerator(cpu=True)
net, optimizer, train_loader, val_loader = accelerator.prepare(
    net,
    torch.optim.Adam(net.parameters()),
    DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True),
    DataLoader(TensorDataset(x_test, y_test), batch_size=500),
)

callbacks = [
    EarlyStopping(patience=3, restore_best_weights=True),
    ModelCheckpoint("best.safetensors", save_best_only=True),
]

with Run(model=net, optimizer=optimizer, epochs=options.epochs, callbacks=callbacks) as run:
    for _ in run.epochs():
        net.train()
        for x, y in run.train(train_loader):
            loss = loss_fn(net(x), y)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            run.log(loss=loss)

        net.eval()
        with torch.inference_mode():
            for x, y in run.validate(val_loader):
                run.log(loss=loss_fn(net(x), y))

print("\nWhat the callbacks decided, and why:")
print(run.journal)
