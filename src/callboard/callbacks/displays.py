"""Where progress is shown: a terminal, a notebook, or lines in a file."""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

from callboard._core.output import printable, say
from callboard.callbacks.progress_line import ProgressLine

__all__ = ["Display", "LinesDisplay", "NotebookDisplay", "TerminalDisplay", "suitable_display"]


class Display(Protocol):
    """Shows the progress of one pass after the other.

    Attributes:
        live: Whether ``draw`` shows anything, so that calling it is worth the time.
    """

    live: bool

    def begin(self, title: str) -> None:
        """Begin a pass, called ``title``."""

    def draw(self, line: ProgressLine) -> None:
        """Show how far it has come."""

    def end(self, line: ProgressLine) -> None:
        """Show the final state, for good."""

    def close(self) -> None:
        """Leave the screen in order, also in the middle of a pass."""


class LinesDisplay:
    """One plain line for each pass when it has ended, and no control characters."""

    live = False

    def __init__(self) -> None:
        self._title = ""

    def begin(self, title: str) -> None:
        """Keep the title for the line at the end."""
        self._title = title

    def draw(self, line: ProgressLine) -> None:
        """Show nothing."""

    def end(self, line: ProgressLine) -> None:
        """Print the line."""
        title = f"{self._title} - " if self._title else ""
        say(f"{title}{line.final()}")

    def close(self) -> None:
        """Nothing is open."""


class TerminalDisplay:
    """A line on a terminal that is drawn over; what the program prints meanwhile stays above it."""

    live = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False, soft_wrap=False)
        self._live_display: Live | None = None
        self._make = Live
        unicode = self._console.encoding.lower().startswith("utf")
        self._bar = "━─" if unicode else "=."

    def begin(self, title: str) -> None:
        """Print the title and begin to draw below it."""
        if title:
            self._console.print(title, markup=False)
        self._live_display = self._make(
            "", console=self._console, auto_refresh=False, vertical_overflow="visible"
        )
        self._live_display.start()

    def draw(self, line: ProgressLine) -> None:
        """Draw the line over the one before."""
        if self._live_display is not None:
            self._live_display.update(self._text(line.live(bar=self._bar)), refresh=True)

    def end(self, line: ProgressLine) -> None:
        """Replace the line by the final one."""
        if self._live_display is not None:
            self._live_display.update(self._text(line.final()), refresh=True)
        self.close()

    def close(self) -> None:
        """Leave the cursor below what was drawn."""
        if self._live_display is not None:
            display, self._live_display = self._live_display, None
            display.stop()

    @staticmethod
    def _text(line: str) -> Any:
        from rich.text import Text

        return Text(printable(line))


class NotebookDisplay:
    """An output of a notebook's cell that is updated in place."""

    live = True

    def __init__(self) -> None:
        from IPython.display import display

        self._show = display
        self._handle: Any = None
        self._title = ""

    def begin(self, title: str) -> None:
        """Begin a new output."""
        self._title = f"{title} - " if title else ""
        self._handle = self._show(_plain(self._title), raw=True, display_id=True)

    def draw(self, line: ProgressLine) -> None:
        """Update the output."""
        if self._handle is not None:
            self._handle.update(_plain(self._title + line.live().strip()), raw=True)

    def end(self, line: ProgressLine) -> None:
        """Leave the final line."""
        if self._handle is not None:
            self._handle.update(_plain(self._title + line.final()), raw=True)
        self._handle = None

    def close(self) -> None:
        """Leave the output as it is."""
        self._handle = None


def suitable_display(verbose: int) -> Display:
    """Return the display for where the program's output goes."""
    if verbose == 1:
        if _in_notebook():
            return NotebookDisplay()
        if sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb":
            return TerminalDisplay()
    return LinesDisplay()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def _plain(text: str) -> dict[str, str]:
    return {"text/plain": text}
