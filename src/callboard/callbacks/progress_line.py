"""The line of text that shows how far an epoch has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ProgressLine"]

_WIDTH = 20


@dataclass(slots=True)
class ProgressLine:
    """What is known of one pass over the data, as the text that Keras shows for it.

    Attributes:
        done: Batches done.
        total: Batches in all, or None if that is not known.
        elapsed_s: Seconds since the pass began.
        step_s: Seconds that a batch takes.
        metrics: Names and values.

    Example:
        >>> line = ProgressLine(60, 120, elapsed_s=3.0, step_s=0.05, metrics={"loss": 0.25})
        >>> line.live()
        ' 60/120 ━━━━━━━━━━──────────  3s 50ms/step - loss: 0.2500'
        >>> line.final()
        '60/120 - 3s - 50ms/step - loss: 0.2500'
    """

    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0
    step_s: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def live(self, *, bar: str = "━─") -> str:
        """Return the line to be drawn over and over, with the time that is left.

        Args:
            bar: A character for what is done and one for what is left.
        """
        if self.total:
            filled = min(self.done * _WIDTH // self.total, _WIDTH)
            drawn = bar[0] * filled + bar[1] * (_WIDTH - filled)
            left = _clock(self.step_s * max(self.total - self.done, 0))
            count = f"{self.done:>{len(str(self.total))}}/{self.total} {drawn}"
            head = f"{count} {left:>3}"
        else:
            head = f"{self.done}/unknown {_clock(self.elapsed_s):>3}"
        return f"{head if not self.total else ' ' + head} {_per_step(self.step_s)}{self._values()}"

    def final(self) -> str:
        """Return the line to be printed once, with the time it took."""
        total = self.total or self.done
        took = _clock(self.elapsed_s)
        return f"{self.done}/{total} - {took} - {_per_step(self.step_s)}{self._values()}"

    def _values(self) -> str:
        return "".join(f" - {name}: {_value(value)}" for name, value in self.metrics.items())


def _value(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


def _clock(seconds: float) -> str:
    """Return "12s", "3:04" or "1:02:03"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _per_step(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s/step"
    return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"
