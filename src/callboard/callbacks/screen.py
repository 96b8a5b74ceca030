"""The part of a terminal that is drawn over, below what the program prints."""

from __future__ import annotations

import atexit
import io
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from callboard._core.output import printable

__all__ = ["Layout", "PrintsAbove", "Screen"]

Layout = Callable[[int], str]
"""Returns the rows of a text for so many columns."""

_ERASE_BELOW = "\x1b[J"
_ERASE_TO_END = "\x1b[K"
_CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b.|[\x00-\x1f\x7f]")


class Screen:
    """Rows at the bottom of a terminal, drawn over; what the program prints goes above them.

    While something is drawn, ``sys.stdout``, ``sys.stderr`` and the handlers of ``logging`` that
    write to the terminal go through the screen. The cursor waits at the beginning of the first row,
    visible: where a terminal breaks the rows anew when it is resized, all of them are still behind
    the cursor, and a process that is killed leaves nothing to be put in order.

    Several owners may draw at a time: a training, and an evaluation that one of its callbacks does.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._drawn: dict[object, Layout] = {}
        self._laid_out: dict[object, tuple[int, str]] = {}  # for how many columns, and the rows
        self._shows_rows = False
        self._open_line = ""  # what the program has printed without an end of line
        self._redirection: list[_Redirection] = []

    @staticmethod
    def of(stream: TextIO) -> Screen:
        """Return the screen that a stream already is drawn on, or a new one."""
        return stream.screen if isinstance(stream, PrintsAbove) else Screen(stream)

    @property
    def owners(self) -> int:
        """How many draw on it now."""
        return len(self._drawn)

    @property
    def size(self) -> tuple[int, int]:
        """Columns that may be written to, and rows."""
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):  # a stream that only says that it is a terminal
            columns = rows = 0
        if not columns or not rows:
            columns, rows = shutil.get_terminal_size()
        # In the last column some terminals wait, and an erasure there takes the character away.
        return max(columns - 1, 1), rows

    def draw(self, owner: object, layout: Layout) -> None:
        """Show rows for an owner, in the place of those it had.

        Args:
            owner: Who draws.
            layout: Returns the rows for so many columns; no text for none.
        """
        with self._lock:
            if not self._drawn:
                self._redirect()
            self._drawn[owner] = layout
            self._laid_out.pop(owner, None)
            self._redraw()

    def print(self, text: str) -> None:
        """Print a line for good, above what is drawn."""
        with self._lock:
            line = f"{printable(text)}\n"
            if self._open_line:
                line = f"{self._open_line}\n{line}"
                self._open_line = ""
            self._redraw(line)

    def release(self, owner: object, final: Layout | None = None) -> None:
        """Show no more of an owner but a final text; the last one gives the terminal back."""
        with self._lock:
            if self._drawn.pop(owner, None) is None:
                return
            self._laid_out.pop(owner, None)
            if not self._drawn:
                self._put_back()
            text = final(self.size[0]) if final is not None else ""
            if text:
                self.print(text)
            elif not self._drawn:
                self._redraw(self._open_line)
                self._open_line = ""

    def write_above(self, text: str) -> None:
        """Write what the program prints; a line that is not ended yet stays above the rows."""
        if os.getpid() != self._process:  # a fork must not draw, and its lock may be held for ever
            self._stream.write(f"{_ERASE_BELOW if self._drawn else ''}{text}")
            return
        with self._lock:
            if not self._drawn:
                self._stream.write(text)
                return
            lines, end, self._open_line = (self._open_line + text).rpartition("\n")
            if end:
                self._redraw(lines + end)

    def flush(self) -> None:
        """Show a line of the program's that is not ended yet."""
        if os.getpid() != self._process:
            self._stream.flush()
            return
        with self._lock:
            if self._drawn and self._open_line:
                self._redraw()
            else:
                self._stream.flush()

    def _redraw(self, above: str = "") -> None:
        """Write text above the rows and draw them, in one go so that nothing flickers."""
        columns, height = self.size
        rows = [row for owner in self._drawn for row in self._rows(owner, columns)]
        if self._open_line and rows:
            rows = [*_last_rows(self._open_line, columns), *rows]
        rows = rows[: max(height - 1, 1)]
        parts = []
        if self._shows_rows:
            parts.append(f"\r{'' if rows and not above else _ERASE_BELOW}")
        parts.append(above)
        if rows:
            parts.append(f"{_ERASE_TO_END}\n".join(rows))
            parts.append(_ERASE_BELOW)
            parts.append(f"\x1b[{len(rows) - 1}A\r" if len(rows) > 1 else "\r")
        self._shows_rows = bool(rows)
        text = "".join(parts)
        if text:
            self._stream.write(text)
            self._stream.flush()

    def _rows(self, owner: object, columns: int) -> list[str]:
        """Return an owner's rows, laid out anew only if the terminal was resized."""
        width, text = self._laid_out.get(owner, (0, ""))
        if width != columns:
            text = self._drawn[owner](columns)
            self._laid_out[owner] = columns, text
        return text.split("\n") if text else []

    def _redirect(self) -> None:
        if sys.stdout is self._stream:
            self._redirection = [_Redirection(self, name) for name in ("stdout", "stderr")]
        atexit.register(self._give_up)

    def _put_back(self) -> None:
        for each in self._redirection:
            each.undo()
        self._redirection = []
        atexit.unregister(self._give_up)

    def _give_up(self) -> None:
        """Leave what is drawn where it is, with the cursor below it."""
        for owner, layout in list(self._drawn.items()):
            self.release(owner, layout)


class PrintsAbove(io.TextIOBase):
    """A stream in the place of one to the terminal, for while a screen is drawn on it.

    It may be kept for longer; then it writes through.

    Args:
        screen: Where it goes.
        stream: The stream it stands for.
    """

    def __init__(self, screen: Screen, stream: TextIO) -> None:
        self.screen = screen
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    @property
    def encoding(self) -> str:  # type: ignore[override] # typeshed has a plain attribute
        """Encoding of the terminal."""
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override] # typeshed has a plain attribute
        """What is done about characters that the encoding lacks."""
        return self.stream.errors

    def write(self, text: str) -> int:
        """Write text above what is drawn."""
        if self.encoding:
            errors = self.errors or "strict"
            text = text.encode(self.encoding, errors).decode(self.encoding, errors)
        self.screen.write_above(text)
        return len(text)

    def flush(self) -> None:
        """Show what was written."""
        self.screen.flush()

    def fileno(self) -> int:
        """Return the terminal's number."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self.stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Leave the terminal open."""


class _Redirection:
    """Has one of the program's streams go through a screen, until it is undone."""

    def __init__(self, screen: Screen, name: str) -> None:
        self._name = name
        self._before: TextIO | None = getattr(sys, name)
        self._proxy: PrintsAbove | None = None
        if self._before is not None and self._before.isatty():
            self._proxy = PrintsAbove(screen, self._before)
            setattr(sys, name, self._proxy)
            _exchange(self._before, self._proxy)

    def undo(self) -> None:
        """Put the stream back, unless the program has put another one there."""
        if self._proxy is not None and self._before is not None:
            if getattr(sys, self._name) is self._proxy:
                setattr(sys, self._name, self._before)
            _exchange(self._proxy, self._before)


def _exchange(old: object, new: Any) -> None:
    """Have the handlers of logging that write to one stream write to another."""
    for handler in _handlers():
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


def _handlers() -> Iterator[logging.Handler]:
    loggers: Iterable[object] = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def _last_rows(line: str, columns: int) -> list[str]:
    """Return the end of a line that is not ended, as it looks on a terminal."""
    from rich.cells import chop_cells

    seen = line.rstrip("\r").rpartition("\r")[2]
    return chop_cells(_CONTROLS.sub("", seen.expandtabs()), columns)[-2:]
