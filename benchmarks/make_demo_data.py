"""Make the demo's data out of the full MNIST file: fewer images, the same share of each digit.

Of each digit the images are taken at even distances through the file, so that every run of this
script selects the same ones, from the easier and the harder half alike. They keep their order.
Run it with ``python benchmarks/make_demo_data.py mnist.npz src/callboard/demo/mnist.npz``, where
the first file is MNIST in Keras's layout (x_train, y_train, x_test, y_test; uint8).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

TRAIN_IMAGES = 6_000
TEST_IMAGES = 1_000

Array = np.ndarray[Any, Any]


def shares(labels: Array, total: int) -> Array:
    """Return how many images of each digit make ``total``, in the proportions of ``labels``."""
    exact = np.bincount(labels, minlength=10) * total / len(labels)
    counts = np.floor(exact).astype(int)
    # The images that rounding down left over go to the digits that lost most by it.
    lost_most = np.argsort(counts - exact, kind="stable")[: total - counts.sum()]
    counts[lost_most] += 1
    return counts


def selection(labels: Array, total: int) -> Array:
    """Return the indices of the images to take, in ascending order."""
    chosen = []
    for digit, count in enumerate(shares(labels, total)):
        indices = np.flatnonzero(labels == digit)
        chosen.append(indices[np.arange(count) * len(indices) // count])
    return np.sort(np.concatenate(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path, help="the full mnist.npz")
    parser.add_argument("target", type=Path, help="the file to write")
    arguments = parser.parse_args()
    with np.load(arguments.source, allow_pickle=False) as full:
        train = selection(full["y_train"], TRAIN_IMAGES)
        test = selection(full["y_test"], TEST_IMAGES)
        np.savez_compressed(
            arguments.target,
            x_train=full["x_train"][train],
            y_train=full["y_train"][train],
            x_test=full["x_test"][test],
            y_test=full["y_test"][test],
        )
    print(f"{arguments.target}: {arguments.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
