"""What ``TensorBoard(histogram_freq=1)`` costs ``Model.fit`` on the tutorial's network and data."""

import argparse
import tempfile
import warnings
from pathlib import Path

import torch
from fit import DEMO_DATA, by_fit, mnist
from measure import interleaved, machine, show

import callboard
from callboard import callbacks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEMO_DATA)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", callboard.ConfigurationWarning)
    data = mnist(options.data)
    with tempfile.TemporaryDirectory() as folder:

        def tensorboard():
            return [callbacks.TensorBoard(Path(folder) / "logs", histogram_freq=1)]

        contenders = {
            "Model.fit": by_fit(*data, eight=list),
            "Model.fit, TensorBoard": by_fit(*data, eight=tensorboard),
        }
        seconds = interleaved(contenders, options.repetitions)
    show(f"TensorBoard, histograms each epoch; {machine()}", seconds, "Model.fit")


if __name__ == "__main__":
    main()
