"""Callbacks in a training loop of one's own: ``Run`` goes around it, the loop stays plain PyTorch.

    python examples/hand_written_loop.py [--epochs 20]

Saves the best weights as ``best.safetensors`` in the current folder.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callboard import Run
from callboard.callbacks import EarlyStopping, ModelCheckpoint
from callboard.demo import load_digits

arguments = argparse.ArgumentParser(description="A training loop of one's own, with callbacks.")
arguments.add_argument("--epochs", type=int, default=20)
options = arguments.parse_args()

torch.manual_seed(0)
x_train, y_train, x_test, y_test = map(torch.from_numpy, load_digits())
train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=64, shuffle=True)
val_loader = DataLoader(TensorDataset(x_test, y_test), batch_size=500)

net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(net.parameters())
loss_fn = nn.CrossEntropyLoss()

callbacks = [
    EarlyStopping(patience=3, restore_best_weights=True),
    ModelCheckpoint("best.safetensors", save_best_only=True),
]

with Run(model=net, optimizer=optimizer, epochs=options.epochs, callbacks=callbacks) as run:
    for _ in run.epochs():  # ends early when a callback asks for it
        net.train()
        for x, y in run.train(train_loader):  # the hooks are called around the body
            loss = loss_fn(net(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            run.log(loss=loss)  # averaged over the epoch

        net.eval()
        with torch.inference_mode():
            for x, y in run.validate(val_loader):  # logged as val_loss and val_accuracy
                output = net(x)
                accuracy = (output.argmax(1) == y).float().mean()
                run.log(loss=loss_fn(output, y), accuracy=accuracy)

print("\nWhat the callbacks decided, and why:")
print(run.journal)
