"""Progress by tqdm, for those who prefer its bars."""

from __future__ import annotations

from typing import Any

from callboard._core.errors import UnsupportedError
from callboard.callbacks.progress_line import ProgressLine

__all__ = ["TqdmDisplay"]


class TqdmDisplay:
    """tqdm's bars: one that stays for each pass, and one below it while it is validated.

    Raises:
        UnsupportedError: If tqdm is not installed.
    """

    def __init__(self) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise UnsupportedError(
                "ProgbarLogger(style='tqdm') needs the tqdm package: "
                "pip install 'callboard[tqdm]'; style='auto' needs nothing more"
            ) from error
        self.every_s: float | None = 0.1
        self.first_s = 0.0
        self._make = tqdm
        self._title = ""
        self._begun = False
        self._bar: Any = None
        self._validation: Any = None

    def begin(self, title: str) -> None:
        """Begin a bar, which is made when its length is known."""
        self.close()
        self._title = title
        self._begun = True

    def draw(self, line: ProgressLine, validation: ProgressLine | None = None) -> None:
        """Move the bar, and that of the validation below it."""
        if not self._begun:
            return
        if self._bar is None:
            self._bar = self._make(
                total=line.total, initial=line.begun_at, desc=self._title or None, unit="step"
            )
        _move(self._bar, line)
        if validation is None:
            self._close_validation()
        else:
            if self._validation is None:
                self._validation = self._make(
                    total=validation.total, desc=validation.label, unit="step", leave=False
                )
            _move(self._validation, validation)

    def end(self, line: ProgressLine) -> None:
        """Leave the bar with the final metrics."""
        if self._begun:
            self.draw(line)
            self.close()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._close_validation()
        bar, self._bar = self._bar, None
        self._begun = False
        if bar is not None:
            bar.close()

    def _close_validation(self) -> None:
        bar, self._validation = self._validation, None
        if bar is not None:
            bar.close()


def _move(bar: Any, line: ProgressLine) -> None:
    bar.n = line.done
    metrics = ", ".join(f"{name}={value}" for name, value in line.texts.items())
    bar.set_postfix_str(metrics, refresh=False)
    bar.refresh()
