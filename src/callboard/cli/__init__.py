"""The ``callboard`` command: one file for each of its commands, and here what they share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import callboard
from callboard._core.errors import CallboardError
from callboard.cli import checkpoints, demo, plot, replay, report

__all__ = ["main"]

_FAILED, _INTERRUPTED = 1, 130

_EXAMPLES = """\
examples:
  callboard demo                        train a small network on digits, with all callbacks
  callboard demo --epochs 5 --out run   shorter, and with the files below the folder "run"
  callboard plot logs/training_log.csv  draw what CSVLogger wrote
  callboard report runs/a               a page about a run, or several
  callboard replay log.csv              what EarlyStopping would have done
  callboard checkpoints list runs/a     show what ModelCheckpoint saved

"callboard COMMAND --help" says what a command takes.
"""


class _Parser(argparse.ArgumentParser):
    """Reports wrong use in one line; argparse would put the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: Arguments without the program's name; by default those of the process.

    Returns:
        0; 1 if the command failed, 2 for wrong use, 130 after Ctrl-C.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        callboard ...
        0
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as end:  # after --help, --version or wrong use
        return int(end.code or 0)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on (as after `| head`); the interpreter would flush once more and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except (CallboardError, OSError) as error:
        sys.stderr.write(f"callboard: error: {_one_line(error)}\n")
        return _FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="callboard",
        description="Training callbacks for every Python training loop: see and plot a training, "
        "look after its checkpoints.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"callboard {callboard.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for each in (demo, plot, report, replay, checkpoints):
        each.add_to(commands)
    return parser


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{str(error.filename)!r}: {error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split())
