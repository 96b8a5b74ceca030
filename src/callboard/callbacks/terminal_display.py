"""Progress on a terminal."""

from __future__ import annotations

import re
import sys
from typing import TextIO

from callboard._core.output import printable
from callboard.callbacks import windows_console
from callboard.callbacks.progress_line import ProgressLine
from callboard.callbacks.screen import Layout, Screen

__all__ = ["TerminalDisplay", "can_draw"]

_BAR = "━─"
_PLAIN_BAR = "=."
_DRAWN_BAR = re.compile(f"{_BAR[0]}+|{_BAR[1]}+")
_INDENT = "  "


class TerminalDisplay:
    """A line on a terminal that is drawn over; what the program prints meanwhile goes above it."""

    def __init__(self) -> None:
        from rich.console import Console

        self.every_s: float | None = 0.1
        self.first_s = 0.0
        if windows_console.ON_WINDOWS and sys.stdout is not None:
            windows_console.takes_sequences(sys.stdout)  # if it is drawn on by request
        console = Console(file=sys.stdout)
        self._colors = console.color_system is not None and not console.no_color
        self._bar = _BAR if console.encoding.lower().startswith("utf") else _PLAIN_BAR
        self._screen: Screen | None = None
        self._indent = ""
        self._layout: Layout = _nothing

    def begin(self, title: str) -> None:
        """Print the title and begin to draw below it, on the screen of the run around this one."""
        self.close()
        self._screen = Screen.of(sys.stdout)
        self._indent = _INDENT * self._screen.owners
        if title:
            self._screen.print(f"{self._indent}{title}")
        self._layout = _nothing
        self._screen.draw(self, self._layout)

    def draw(self, line: ProgressLine, validation: ProgressLine | None = None) -> None:
        """Draw the line over the one before."""
        if self._screen is None:
            return
        lines = [line] if validation is None else [line, validation]

        def layout(columns: int) -> str:
            width = columns - len(self._indent)
            rows = "\n".join(each.live(bar=self._bar, width=width) for each in lines)
            return self._indented(self._painted(rows))

        self._layout = layout
        self._screen.draw(self, layout)

    def end(self, line: ProgressLine) -> None:
        """Replace the line by the final one."""

        def layout(columns: int) -> str:
            return self._indented(line.final(width=columns - len(self._indent)))

        self._layout = layout
        self.close()

    def close(self) -> None:
        """Leave what was drawn last, with the cursor below it."""
        if self._screen is not None:
            screen, self._screen = self._screen, None
            screen.release(self, self._layout)

    def _indented(self, rows: str) -> str:
        return self._indent + rows.replace("\n", f"\n{self._indent}")

    def _painted(self, rows: str) -> str:
        rows = printable(rows)
        return _DRAWN_BAR.sub(_paint, rows) if self._colors else rows


def can_draw(stream: TextIO) -> bool:
    """Say whether a stream is a terminal on which the cursor can be moved."""
    if not stream.isatty():
        return False
    from rich.console import Console
    from rich.file_proxy import FileProxy

    if isinstance(stream, FileProxy):  # the program draws there itself, by rich
        return False
    if Console(file=stream).is_dumb_terminal:
        return False
    return not windows_console.ON_WINDOWS or windows_console.takes_sequences(stream)


def _nothing(_columns: int) -> str:
    """Lay out the rows of a pass of which nothing is known yet."""
    return ""


def _paint(bar: re.Match[str]) -> str:
    part = bar.group()
    return f"\x1b[32m{part}\x1b[0m" if part[0] == _BAR[0] else f"\x1b[2m{part}\x1b[0m"
