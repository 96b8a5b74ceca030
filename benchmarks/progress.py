"""What showing progress costs a training of 10,000 batches a second."""

import contextlib
import hashlib
import os
import pty
import statistics
import subprocess
import sys
import termios
import time

from measure import machine

from callboard import Run

BATCHES = 5_000
BATCH_S = 1e-4
ROUNDS = 21


@contextlib.contextmanager
def terminal():
    """Give the stream of a terminal whose other end another process reads."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    with (
        subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL) as reader,
        os.fdopen(theirs, "w", encoding="utf-8") as stream,
    ):
        yield stream
        reader.terminate()
    os.close(ours)


def work():
    """Return a function that computes for a tenth of a millisecond, always the same."""
    data = bytes(1_000_000)
    begin = time.thread_time()
    for _ in range(20):
        hashlib.sha256(data)
    part = data[: round(len(data) * 20 * BATCH_S / (time.thread_time() - begin))]
    return lambda: hashlib.sha256(part)


def batch_s(compute, stream, verbose):
    """Return the seconds that the processor works for a batch, its progress going to a stream.

    Not those on the clock: what other programs do meanwhile would be more than what is measured.
    """
    before, sys.stdout = sys.stdout, stream
    try:
        with Run(verbose=verbose) as run:
            for _ in run.epochs():
                begin = time.thread_time()
                for _ in run.train(range(BATCHES)):
                    compute()
                    run.log(loss=0.5, accuracy=0.25)
                took = time.thread_time() - begin
    finally:
        sys.stdout = before
    return took / BATCHES


def main():
    os.environ["TERM"] = "xterm-256color"
    os.environ.pop("CI", None)
    extra = {}
    compute = work()
    with terminal() as shown, open(os.devnull, "w", encoding="utf-8") as file:  # noqa: PTH123
        contenders = {
            "terminal, verbose=1": (shown, 1),
            "file, verbose=1": (file, 1),
            "verbose=0, once more": (shown, 0),
        }
        for _ in range(ROUNDS):
            for name, how in contenders.items():
                silent, seen = batch_s(compute, shown, 0), batch_s(compute, *how)
                extra.setdefault(name, []).append((seen - silent) * 1e6)
    print(f"\nprogress at {1 / BATCH_S:,.0f} batches a second; {machine()}")
    print(f"{'progress':<28}{'us per batch, over verbose=0':>30}{'of the time':>14}")
    for name, microseconds in extra.items():
        cost = statistics.median(microseconds)
        print(f"{name:<28}{cost:>30.2f}{cost / BATCH_S / 1e4:>13.2f}%")


if __name__ == "__main__":
    main()
