"""What ``TensorBoard(histogram_freq=1)`` adds to a training: the tutorial's network, on PyTorch.

Epochs of 19,200 images of MNIST and a validation on 3,200, batch 32. Histograms are of weights and
activations. The graph is written once in a run, so each run has several epochs.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from fit import DEMO_DATA, mnist, network
from measure import interleaved, machine, show

from callboard.callbacks import TensorBoard
from callboard.torch import Model


def by_fit(data, epochs, made=None):
    """Return a function that trains some more epochs, with the callback that ``made`` makes."""
    x, y, x_val, y_val = data
    model = Model(network(softmax=True))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    def run():
        used = [made()] if made else []
        validation = (x_val, y_val)
        model.fit(x, y, epochs=epochs, validation_data=validation, verbose=0, callbacks=used)

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEMO_DATA)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = mnist(options.data)
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder, "logs")
        made = {
            "Model.fit": None,
            "Model.fit, TensorBoard": lambda: TensorBoard(logs / "a"),
            "Model.fit, TensorBoard with histograms": lambda: TensorBoard(
                logs / "b", histogram_freq=1
            ),
        }
        contenders = {name: by_fit(data, options.epochs, make) for name, make in made.items()}
        seconds = interleaved(contenders, options.repetitions)
    show(f"{options.epochs} epochs, 1 thread; {machine()}", seconds, "Model.fit")


if __name__ == "__main__":
    main()
