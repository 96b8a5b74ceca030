"""Event files: our writer, torch.utils.tensorboard and tensorboardX, in one run and taking turns.

Prints the median of five repetitions: scalars per second that the training thread can hand over
(files flushed and closed within the time), and milliseconds per histogram of a million float32.
Run it with ``python benchmarks/events.py``.
"""

from __future__ import annotations

import functools
import importlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import closing

import numpy as np

from callboard.events import EventWriter

REPETITIONS = 5
PEERS = ("torch.utils.tensorboard", "tensorboardX")
SCALARS = 20_000
HISTOGRAMS = 10
VALUES = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)


def write_scalars(add_scalar: Callable[..., object]) -> None:
    for step in range(SCALARS):
        add_scalar("train/loss", 0.5, step)


def write_histograms(add_histogram: Callable[..., object]) -> None:
    for step in range(HISTOGRAMS):
        add_histogram("weights", VALUES, step)


def ours(kind: str) -> float:
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        with EventWriter(directory) as writer:
            if kind == "scalars":
                write_scalars(writer.add_scalar)
            else:
                write_histograms(writer.add_histogram)
        return time.perf_counter() - start


def theirs(package: str, kind: str) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary_writer = importlib.import_module(package).SummaryWriter

    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        with closing(summary_writer(directory)) as writer:
            if kind == "scalars":
                write_scalars(writer.add_scalar)
            else:
                write_histograms(writer.add_histogram)
        return time.perf_counter() - start


def measured() -> dict[str, dict[str, float]]:
    """Return the median seconds of each writer for each kind of record."""
    writers = {"callboard": ours}
    for package in PEERS:
        peer = functools.partial(theirs, package)
        try:
            peer("histograms")
        except ImportError:
            print(f"{package} is not installed")
        else:
            writers[package] = peer
    ours("histograms")
    seconds = {name: {"scalars": [], "histograms": []} for name in writers}
    for _ in range(REPETITIONS):
        for kind in ("scalars", "histograms"):
            for name, write in writers.items():
                seconds[name][kind].append(write(kind))
    return {
        name: {kind: statistics.median(times) for kind, times in kinds.items()}
        for name, kinds in seconds.items()
    }


def main() -> None:
    medians = measured()
    own = medians["callboard"]
    print(f"{'writer':<24} {'scalars/s':>10} {'ratio':>6} {'ms/histogram':>13} {'ratio':>6}")
    for name, median in medians.items():
        rate, duration = SCALARS / median["scalars"], median["histograms"] / HISTOGRAMS * 1e3
        slower = [median[kind] / own[kind] for kind in ("scalars", "histograms")]
        print(f"{name:<24} {rate:>10,.0f} {slower[0]:>6.1f} {duration:>13.2f} {slower[1]:>6.1f}")


if __name__ == "__main__":
    main()
