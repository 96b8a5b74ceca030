"""Progress on a terminal."""

from __future__ import annotations

import re
import sys
from typing import TextIO

from callboard._core.output import printable
from callboard.callbacks.progress_line import ProgressLine
from callboard.callbacks.screen import Screen

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
        console = Console(file=sys.stdout)
        self._colors = console.color_system is not None and not console.no_color
        self._bar = _BAR if console.encoding.lower().startswith("utf") else _PLAIN_BAR
        self._screen: Screen | None = None
        self._indent = ""
        self._drawn = ""

    def begin(self, title: str) -> None:
        """Print the title and begin to draw below it, on the screen of the run around this one."""
        self.close()
        self._screen = Screen.of(sys.stdout)
        self._indent = _INDENT * self._screen.owners
        if title:
            self._screen.print(f"{self._indent}{title}")
        self._drawn = ""
        self._screen.draw(self, self._drawn)

    def draw(self, line: ProgressLine, validation: ProgressLine | None = None) -> None:
        """Draw the line over the one before."""
        if self._screen is not None:
            width = self._screen.size[0] - len(self._indent)
            lines = [line] if validation is None else [line, validation]
            rows = "\n".join(each.live(bar=self._bar, width=width) for each in lines).split("\n")
            self._drawn = "\n".join(f"{self._indent}{self._painted(row)}" for row in rows)
            self._screen.draw(self, self._drawn)

    def end(self, line: ProgressLine) -> None:
        """Replace the line by the final one."""
        if self._screen is not None:
            screen, self._screen = self._screen, None
            width = screen.size[0] - len(self._indent)
            rows = line.final(width=width).split("\n")
            screen.release(self, "\n".join(f"{self._indent}{row}" for row in rows))

    def close(self) -> None:
        """Leave what was drawn last, with the cursor below it."""
        if self._screen is not None:
            screen, self._screen = self._screen, None
            screen.release(self, self._drawn or None)

    def _painted(self, row: str) -> str:
        row = printable(row)
        if not self._colors:
            return row
        return _DRAWN_BAR.sub(_paint, row)


def can_draw(stream: TextIO) -> bool:
    """Say whether a stream is a terminal on which the cursor can be moved."""
    if not stream.isatty():
        return False
    from rich.console import Console
    from rich.file_proxy import FileProxy

    if isinstance(stream, FileProxy):  # the program draws there itself, by rich
        return False
    console = Console(file=stream)
    return not (console.is_dumb_terminal or console.legacy_windows)


def _paint(bar: re.Match[str]) -> str:
    part = bar.group()
    return f"\x1b[32m{part}\x1b[0m" if part[0] == _BAR[0] else f"\x1b[2m{part}\x1b[0m"
