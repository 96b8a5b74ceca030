"""Progress in a notebook."""

from __future__ import annotations

import html
import sys
from typing import Any

from callboard._core.errors import UnsupportedError
from callboard.callbacks.progress_line import ProgressLine

__all__ = ["NotebookDisplay", "in_notebook"]

_STYLE = "font-family: monospace; white-space: pre-wrap; margin: 0"


class NotebookDisplay:
    """An output of a notebook's cell that is updated in place: HTML, and text where that is not.

    Raises:
        UnsupportedError: If IPython is not installed.
    """

    def __init__(self) -> None:
        try:
            from IPython.display import display
        except ImportError as error:
            raise UnsupportedError(
                "ProgbarLogger(style='notebook') needs the ipython package: pip install ipykernel; "
                "style='auto' needs it in notebooks only, which have it"
            ) from error
        self.every_s: float | None = 0.1
        self.first_s = 0.0
        self._show = display
        self._handle: Any = None
        self._title = ""

    def begin(self, title: str) -> None:
        """Begin a new output."""
        self._title = f"{title} - " if title else ""
        self._handle = self._show(_output(self._title), raw=True, display_id=True)

    def draw(self, line: ProgressLine, validation: ProgressLine | None = None) -> None:
        """Update the output."""
        if self._handle is not None:
            lines = [line] if validation is None else [line, validation]
            text = "\n".join(each.live().strip() for each in lines)
            bars = "<br>".join(_with_bar(each) for each in lines)
            self._handle.update(_output(self._title + text, _escaped(self._title) + bars), raw=True)

    def end(self, line: ProgressLine) -> None:
        """Leave the final line."""
        if self._handle is not None:
            self._handle.update(_output(self._title + line.final()), raw=True)
        self._handle = None

    def close(self) -> None:
        """Leave the output as it is."""
        self._handle = None


def in_notebook() -> bool:
    """Say whether the program runs in the kernel of a notebook: Jupyter, Colab, VS Code."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # Colab's shell extends Jupyter's.
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in type(shell).__mro__)


def _output(text: str, content: str = "") -> dict[str, str]:
    return {
        "text/plain": text,
        "text/html": f'<div style="{_STYLE}">{content or _escaped(text)}</div>',
    }


def _with_bar(line: ProgressLine) -> str:
    """Return a line with the browser's own bar."""
    if not line.total:
        return _escaped(line.live())
    done = min(line.done, line.total)
    bar = f'<progress value="{done}" max="{line.total}" style="width: 20ch"></progress>'
    return f"{bar} {_escaped(line.interim())}"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
