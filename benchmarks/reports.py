"""Reports of long logs, and replay."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import machine

import callboard
from callboard.callbacks import EarlyStopping, ReduceLROnPlateau


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    print(machine())
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.csv")
        rows = rng.random((100_000, 4)).tolist()
        lines = (f"{at},{','.join(map(str, row))}" for at, row in enumerate(rows))
        log.write_text("epoch,accuracy,loss,val_accuracy,val_loss\n" + "\n".join(lines))
        page = Path(folder, "page.html")
        show("report of 100,000 rows", lambda: callboard.report(log, page), arguments.repetitions)
        print(f"its page has {page.stat().st_size / 1e6:.2f} MB")
    losses = (1 / np.arange(1, 1001)).tolist()
    record = {"loss": losses, "val_loss": losses}
    show(
        "replay of 1,000 epochs, two callbacks",
        lambda: callboard.replay(
            record, [EarlyStopping(patience=3), ReduceLROnPlateau(patience=2)]
        ),
        arguments.repetitions,
    )


def show(title, run, repetitions):
    run()
    seconds = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    print(f"{title}: median {np.median(seconds) * 1e3:.0f} ms, least {min(seconds) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
