"""``callboard plot``: draw a log of CSVLogger or JSONLLogger."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from callboard._core.errors import UnknownNameError
from callboard.cli.arguments import require
from callboard.cli.training_log import read_training_log
from callboard.curves import FORMATS, check_format, figure_of, write_figure

__all__ = ["add_to"]

_DESCRIPTION = """\
Draw a log that CSVLogger or JSONLLogger wrote: a panel for each metric, training and validation in
one, the learning rate, and the best epoch (by val_loss, without a validation by loss).
"""
_EXAMPLES = """\
examples:
  callboard plot logs/training_log.csv
  callboard plot logs/training_log.jsonl -o curves.svg --title "Adam, 1e-3"
"""


def add_to(commands: Any) -> None:
    """Add the command to the parsers of all commands."""
    parser = commands.add_parser(
        "plot",
        help="draw a log of CSVLogger or JSONLLogger",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("log", type=Path, metavar="LOG", help="the .csv or .jsonl file")
    parser.add_argument(
        "-o",
        "--output",
        type=_image_path,
        metavar="IMAGE",
        help=f"image to write: {', '.join(FORMATS)} (default: the log's name with .png)",
    )
    parser.add_argument(
        "--title", default="", help="text above the curves (default: the log's name)"
    )
    parser.set_defaults(command=_run)


def _image_path(text: str) -> Path:
    path = Path(text)
    try:
        check_format(path)
    except UnknownNameError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return path


def _run(arguments: argparse.Namespace) -> None:
    require("matplotlib")
    log = read_training_log(arguments.log)
    path = arguments.output or arguments.log.with_suffix(".png")
    if log.skipped:
        sys.stderr.write(f"left out, not numbers: {', '.join(log.skipped)}\n")
    figure = figure_of(log.history, log.epochs, arguments.title or arguments.log.name)
    write_figure(figure, path)
    print(f"wrote {path}")
