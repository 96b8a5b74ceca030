"""``Model.fit`` against a loop written by hand: the tutorial's network on MNIST, batch 32.

One epoch of 19,200 images and a validation on 3,200. The images are those of the demo, repeated, or
of ``--data FILE.npz``.
"""

import argparse
import contextlib
import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from measure import interleaved, machine, show
from torch import nn

import callboard
from callboard import callbacks
from callboard.torch import Model

DEMO_DATA = Path(callboard.__file__).parent / "demo" / "mnist.npz"


def mnist(path, train=19_200, validation=3_200):
    with np.load(path) as file:
        parts = []
        for name, count in (("train", train), ("test", validation)):
            rows = np.arange(count) % len(file[f"x_{name}"])
            x = file[f"x_{name}"][rows].astype(np.float32) / 255
            y = file[f"y_{name}"][rows].astype(np.int64)
            parts += [torch.from_numpy(x), torch.from_numpy(y)]
    return parts


def network(*, softmax):
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)]
    return nn.Sequential(*layers, *([nn.Softmax(-1)] if softmax else []))


def by_hand(x, y, x_val, y_val):
    """Return a function that trains one epoch as everyone writes it."""
    net = network(softmax=False)
    optimizer = torch.optim.Adam(net.parameters())
    loss_of = nn.functional.cross_entropy

    def epoch():
        net.train()
        order = torch.randperm(len(x))
        xs, ys = x[order], y[order]
        total, correct = torch.zeros(()), torch.zeros(())
        for i in range(0, len(x), 32):
            batch, target = xs[i : i + 32], ys[i : i + 32]
            optimizer.zero_grad()
            output = net(batch)
            loss = loss_of(output, target)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
            correct += (output.argmax(1) == target).sum()
        net.eval()
        val_total, val_correct = torch.zeros(()), torch.zeros(())
        with torch.no_grad():
            for i in range(0, len(x_val), 32):
                output, target = net(x_val[i : i + 32]), y_val[i : i + 32]
                val_total += loss_of(output, target) * len(target)
                val_correct += (output.argmax(1) == target).sum()
        return [float(s) for s in (total, correct, val_total, val_correct)]

    return epoch


def by_fit(x, y, x_val, y_val, eight=None, **options):
    """Return a function that trains one more epoch by ``Model.fit``."""
    model = Model(network(softmax=True))
    model.compile(
        optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"], **options
    )
    done = 0

    def epoch():
        nonlocal done
        used = eight() if eight else []
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(
                x,
                y,
                validation_data=(x_val, y_val),
                initial_epoch=done,
                epochs=done + 1,
                callbacks=used,
                verbose=2 if eight else 0,
            )
        done += 1

    return epoch


def eight_callbacks(folder):
    return [
        callbacks.ModelCheckpoint(folder / "best.h5", save_best_only=True, verbose=1),
        callbacks.EarlyStopping(patience=5, restore_best_weights=True),
        callbacks.ReduceLROnPlateau(factor=0.5, patience=3, min_lr=1e-7, verbose=1),
        callbacks.LearningRateScheduler(lambda _epoch, lr: lr),
        callbacks.TensorBoard(folder / "logs", histogram_freq=1),
        callbacks.CSVLogger(folder / "log.csv", append=True),
        callbacks.TerminateOnNaN(),
        callbacks.ProgbarLogger(),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEMO_DATA)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore", callboard.ConfigurationWarning)
    data = mnist(options.data)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "loop by hand": by_hand(*data),
            "Model.fit": by_fit(*data),
            "Model.fit, eight callbacks": by_fit(
                *data, eight=lambda: eight_callbacks(Path(folder))
            ),
        }
        if not options.no_compile:
            compiled = {"jit_compile": True, "steps_per_execution": 8}
            contenders["Model.fit, compiled, 8 steps"] = by_fit(*data, **compiled)
        seconds = interleaved(contenders, options.repetitions)
    show(f"fit, {options.threads} thread(s); {machine()}", seconds, "loop by hand")
    pair = {name: times for name, times in seconds.items() if name.endswith(("fit", "callbacks"))}
    show("the same times, against Model.fit without callbacks", pair, "Model.fit")


if __name__ == "__main__":
    main()
