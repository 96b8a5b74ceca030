"""What showing progress on a terminal costs: for every batch, for every drawing, and together."""

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
from callboard.callbacks.displays import TerminalDisplay
from callboard.callbacks.progress_line import ProgressLine

BATCHES = 2_000
ROUNDS = 101
RATE = 10_000  # batches a second
DRAWINGS = 10  # a second


@contextlib.contextmanager
def terminal():
    """Have the program's output go to a terminal whose other end another process reads."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    before = sys.stdout
    with (
        subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL) as reader,
        os.fdopen(theirs, "w", encoding="utf-8") as stream,
    ):
        sys.stdout = stream
        try:
            yield
        finally:
            sys.stdout = before
            reader.terminate()
    os.close(ours)


def batch_us(verbose):
    """Return the microseconds that the processor works for a batch which only logs.

    Not those on the clock: what other programs do meanwhile would be more than what is measured.
    """
    with Run(verbose=verbose) as run:
        for _ in run.epochs():
            begin = time.thread_time()
            for _ in run.train(range(BATCHES)):
                run.log(loss=0.5, accuracy=0.25)
            took = time.thread_time() - begin
    return took / BATCHES * 1e6


def drawing_us():
    """Return the microseconds that the processor works for a drawing after a tenth of a second."""
    display = TerminalDisplay()
    display.begin("Epoch 1/1")
    other = bytes(8_000_000)  # what a training has in the caches of the processor
    took = []
    for done in range(ROUNDS):
        line = ProgressLine(done, ROUNDS, 3.0, 0.05, {"loss": 0.5, "accuracy": 0.25})
        hashlib.sha256(other)
        begin = time.thread_time()
        display.draw(line)
        took.append((time.thread_time() - begin) * 1e6)
    display.close()
    return statistics.median(took)


def main():
    os.environ["TERM"] = "xterm-256color"
    os.environ.pop("CI", None)
    differences, silent = [], []
    with terminal():
        for _ in range(ROUNDS):
            silent.append(batch_us(0))
            differences.append(batch_us(1) - silent[-1])
        drawing = drawing_us()
    batch = statistics.median(differences)
    together = batch + drawing * DRAWINGS / RATE
    print(f"\nprogress on a terminal; {machine()}")
    print(f"a batch that only logs, verbose=0:  {statistics.median(silent):7.2f} us")
    print(f"a batch, verbose=1 over verbose=0:  {batch:7.2f} us")
    print(f"a drawing:                          {drawing:7.2f} us")
    print(f"a batch at {RATE:,} a second:        {together:7.2f} us, {together * RATE / 1e4:.2f} %")


if __name__ == "__main__":
    main()
