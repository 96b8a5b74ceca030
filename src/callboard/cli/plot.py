"""``callboard plot``: draw a recorded run, or compare several."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from callboard._core.errors import UnknownNameError
from callboard.cli.arguments import require
from callboard.comparison import comparison_of
from callboard.curves import FORMATS, check_format, figure_of, write_figure
from callboard.recorded import read_recordings

__all__ = ["add_to"]

_DESCRIPTION = """\
Draw a recorded run: a panel for each metric, training and validation in one, the learning rate,
and the best epoch (by val_loss, without a validation by loss). Several runs are compared, a color
for each; training is dashed where there is a validation.
"""
_EXAMPLES = """\
what a run can be: a log of CSVLogger; a JSONL log; an event file or a folder of them; a folder of
BackupAndRestore or ModelCheckpoint; the folder of a run with these in it

examples:
  callboard plot logs/training_log.csv
  callboard plot logs/training_log.csv -o curves.svg --title "Adam, 1e-3"
  callboard plot runs/a runs/b -o comparison.png
"""


def add_to(commands: Any) -> None:
    """Add the command to the parsers of all commands."""
    parser = commands.add_parser(
        "plot",
        help="draw a run, or compare runs",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a log or a folder")
    parser.add_argument(
        "-o",
        "--output",
        type=_image_path,
        metavar="IMAGE",
        help=f"image to write: {', '.join(FORMATS)} (default: the run's name with .png)",
    )
    parser.add_argument(
        "--title", default="", help="text above the curves (default: the run's name)"
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
    runs = [each for path in arguments.runs for each in read_recordings(path)]
    skipped = dict.fromkeys(name for each in runs for name in each.skipped)
    if skipped:
        sys.stderr.write(f"left out, not numbers: {', '.join(skipped)}\n")
    if len(runs) == 1:
        only = runs[0]
        figure = figure_of(only.history, only.epochs, arguments.title or only.name)
    else:
        figure = comparison_of(runs, arguments.title)
    path = arguments.output or _beside(arguments.runs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph .* missing from font")
        write_figure(figure, path)
    for note in dict.fromkeys(_note(str(warning.message)) for warning in caught):
        sys.stderr.write(f"note: {note}\n")
    print(f"wrote {path}")


def _note(warning: str) -> str:
    """Return what a warning of matplotlib's means."""
    if "missing from font" in warning:
        return "the font lacks some characters of the names, shown as boxes; an .svg has them"
    return warning


def _beside(runs: Sequence[Path]) -> Path:
    """Return the image's path if none is given."""
    if len(runs) > 1:
        return Path("comparison.png")
    only = runs[0].resolve() if runs[0].name in ("", "..") else runs[0]
    return only.with_name(f"{only.name if only.is_dir() else only.stem}.png")
