"""Where progress is shown: a terminal, a notebook, or lines in a file."""

from __future__ import annotations

import os
import sys
from typing import Literal, Protocol, get_args

from callboard._core.errors import UnknownNameError
from callboard._core.output import say
from callboard.callbacks.notebook_display import NotebookDisplay, in_notebook
from callboard.callbacks.progress_line import ProgressLine
from callboard.callbacks.terminal_display import TerminalDisplay, can_draw
from callboard.callbacks.tqdm_display import TqdmDisplay

__all__ = ["Display", "LinesDisplay", "Style", "check_style", "suitable_display"]

Style = Literal["auto", "terminal", "notebook", "lines", "tqdm"]

_MINUTE_S = 60.0


class Display(Protocol):
    """Shows the progress of one pass after the other.

    Attributes:
        every_s: Seconds from one drawing to the next; None if ``draw`` shows nothing and is
            not worth the time.
        first_s: Seconds from the beginning of a pass to its first drawing.
    """

    every_s: float | None
    first_s: float

    def begin(self, title: str) -> None:
        """Begin a pass, called ``title``."""

    def draw(self, line: ProgressLine, validation: ProgressLine | None = None) -> None:
        """Show how far it has come, and the validation inside it."""

    def end(self, line: ProgressLine) -> None:
        """Show the final state, for good."""

    def close(self) -> None:
        """Leave the screen in order, also in the middle of a pass."""


class LinesDisplay:
    """One plain line for each pass when it has ended, and no control characters.

    Args:
        every_s: Seconds between the lines of a pass that takes longer; None for no such lines.
    """

    def __init__(self, every_s: float | None = None) -> None:
        self.every_s = every_s
        self.first_s = every_s or 0.0
        self._title = ""

    def begin(self, title: str) -> None:
        """Keep the title for the lines."""
        self._title = f"{title} - " if title else ""

    def draw(self, line: ProgressLine, validation: ProgressLine | None = None) -> None:
        """Print how far a long pass has come."""
        say(f"{self._title}{(validation or line).interim()}")

    def end(self, line: ProgressLine) -> None:
        """Print the line."""
        say(f"{self._title}{line.final()}")

    def close(self) -> None:
        """Nothing is open."""


def check_style(style: object) -> None:
    """Raise for a style that there is not.

    Raises:
        UnknownNameError: If so.
    """
    if style not in get_args(Style):
        raise UnknownNameError("style", style, get_args(Style))


def suitable_display(verbose: int, style: Style = "auto") -> Display:
    """Return the display that was asked for, or the one for where the program's output goes.

    Raises:
        UnsupportedError: If a package that the style needs is not installed.
    """
    if verbose == 2:
        return LinesDisplay()
    if style == "auto":
        style = _suitable_style()
    match style:
        case "terminal":
            return TerminalDisplay()
        case "notebook":
            return NotebookDisplay()
        case "tqdm":
            return TqdmDisplay()
        case _:
            return LinesDisplay(_MINUTE_S)


def _suitable_style() -> Style:
    if in_notebook():
        return "notebook"
    kept = os.environ.get("CI", "").lower() not in ("", "0", "false")  # the output is a log
    return "terminal" if sys.stdout is not None and not kept and can_draw(sys.stdout) else "lines"
