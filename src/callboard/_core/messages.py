"""Lines that callbacks print, in the right place among those of the progress display."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from callboard._core.output import say

__all__ = ["Messages"]


class Messages:
    """Prints lines at once, but for those that are to come out below an epoch's line of progress.

    Args:
        silent: Print nothing: this process is not the first of those that train together.
    """

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._held: list[str] | None = None

    def add(self, text: str) -> None:
        """Print a line, now or when those that are held come out."""
        if self._held is not None:
            self._held.append(text)
        elif not self._silent:
            say(text)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold lines back until the block ends, however it ends."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for text in held:
                self.add(text)
