"""``callboard report``: one page about a run, or several."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from callboard.reporting.report import report

__all__ = ["add_to"]

_DESCRIPTION = """\
Write one HTML page about a run: curves with the decisions of the callbacks, the best epoch,
configuration, environment, throughput and all values, as far as they were recorded. It needs
nothing but a browser. Several runs are compared.
"""
_EXAMPLES = """\
what a run can be: the folder of a run, with logs, event files and checkpoints in it; a log of
CSVLogger; a JSONL log; an event file; a folder of BackupAndRestore or ModelCheckpoint

examples:
  callboard report runs/a
  callboard report runs/a runs/b -o comparison.html --title "Two learning rates"
  callboard report logs/training_log.csv
"""


def add_to(commands: Any) -> None:
    """Add the command to the parsers of all commands."""
    parser = commands.add_parser(
        "report",
        help="write a page about a run, or compare runs",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a folder or a log")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="PAGE",
        help="the page to write (default: report.html)",
    )
    parser.add_argument("--title", default="", help="its heading (default: the runs' names)")
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    print(f"wrote {report(arguments.runs, arguments.output, title=arguments.title)}")
