"""The line of text that shows how far an epoch has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ProgressLine"]

_BAR = 20
_SHORT_BAR = 8
_LONGEST_VALUE = 40


@dataclass(slots=True)
class ProgressLine:
    """What is known of one pass over the data, as the text that Keras shows for it.

    Attributes:
        done: Batches done.
        total: Batches in all, or None if that is not known.
        elapsed_s: Seconds since the pass began.
        step_s: Seconds that a batch takes.
        metrics: Names and values.
        label: What the pass is, in front of its line.
        begun_at: Batches that were done before the run was interrupted.

    Example:
        >>> line = ProgressLine(60, 120, elapsed_s=3.0, step_s=0.05, metrics={"loss": 0.25})
        >>> line.live()
        ' 60/120 ━━━━━━━━━━──────────  3s 50ms/step - loss: 0.2500'
        >>> line.final()
        '60/120 - 3s - 50ms/step - loss: 0.2500'

    Source: Keras 3.15 ``keras.utils.Progbar``.
    """

    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0
    step_s: float = 0.0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    begun_at: int = 0

    @property
    def texts(self) -> dict[str, str]:
        """Names and values of the metrics as they are shown."""
        return {_one_line(name): _value(value) for name, value in self.metrics.items()}

    def live(self, *, bar: str = "━─", width: int | None = None) -> str:
        """Return what is drawn over and over, with the time that is left.

        Args:
            bar: A character for what is done and one for what is left.
            width: Columns there are. What does not fit is put on further rows; the bar becomes
                shorter, then the time of a step is left out, and long names are cut.
        """
        parts = self._parts()
        if width is None:
            return " - ".join([next(self._heads(bar)), *parts])
        head = ""
        for head in self._heads(bar, width):
            if _cells(head) <= width:
                break
        return _packed(_cut(head, width), [_cut_name(part, width - 2) for part in parts], width)

    def interim(self) -> str:
        """Return the line that is printed in the middle of a long pass."""
        left = f" - {_clock(self._left_s)} left" if self.total else ""
        head = f"{self._count} - {_clock(self.elapsed_s)}{left} - {self._rate}"
        return " - ".join([head, *self._parts()])

    def final(self, *, width: int | None = None) -> str:
        """Return the line to be printed once, with the time it took.

        Args:
            width: Columns there are. What does not fit is put on further rows.
        """
        head = f"{self.done}/{self.total or self.done} - {_clock(self.elapsed_s)} - {self._rate}"
        if width is None:
            return " - ".join([head, *self._parts()])
        return _packed(head, self._parts(), width)

    @property
    def _left_s(self) -> float:
        return self.step_s * max((self.total or 0) - self.done, 0)

    @property
    def _count(self) -> str:
        label = f"{self.label} " if self.label else ""
        return f"{label}{self.done}/{self.total or 'unknown'}"

    @property
    def _rate(self) -> str:
        return _per_step(self.step_s)

    def _heads(self, bar: str, width: int = 0) -> Iterator[str]:
        """Yield what precedes the metrics, the longest form first."""
        if not self.total:
            head = f"{self._count} {_clock(self.elapsed_s):>3}"
            yield f"{head} {self._rate}"
            yield head
            return
        aligned = f"{self.done:>{len(str(self.total))}}/{self.total}"
        count = f" {self.label} {aligned}" if self.label else f" {aligned}"
        over = self.done >= self.total
        clock = f"{_clock(self.elapsed_s if over else self._left_s):>3}"
        with_rate = f"{clock} {self._rate}"
        yield f"{count} {self._bar(bar, _BAR)} {with_rate}"
        for times in (with_rate, clock):
            size = width - _cells(f"{count}  {times}")
            if size >= _SHORT_BAR:
                yield f"{count} {self._bar(bar, min(size, _BAR))} {times}"
        yield f"{count} {clock}"

    def _bar(self, characters: str, size: int) -> str:
        filled = min(self.done * size // (self.total or 1), size)
        return characters[0] * filled + characters[1] * (size - filled)

    def _parts(self) -> list[str]:
        return [f"{name}: {value}" for name, value in self.texts.items()]


def _packed(head: str, parts: list[str], width: int) -> str:
    """Return the parts on as many rows as they need, no row broken within a part."""
    rows = [head]
    for part in parts:
        longer = f"{rows[-1]} - {part}"
        if _cells(longer) <= width:
            rows[-1] = longer
        else:
            rows.append(f"  {part}")
    return "\n".join(rows)


def _cut_name(part: str, width: int) -> str:
    """Shorten the name in "name: value" until it fits, so that the value is seen."""
    if _cells(part) <= width:
        return part
    name, colon, value = part.rpartition(": ")
    room = width - _cells(colon + value)
    return f"{_cut(name, room)}{colon}{value}" if room > 3 else _cut(part, width)


def _cut(text: str, width: int) -> str:
    from rich.cells import set_cell_size

    if _cells(text) <= width:
        return text
    return set_cell_size(text, max(width - 2, 0)).rstrip() + ".."[:width]


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes; Chinese characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - whatever a value of the user's does, it ends no training
        text = f"<{type(value).__name__}>"
    return _cut(_one_line(text), _LONGEST_VALUE)


def _one_line(text: object) -> str:
    """Return text without line breaks and what a terminal would take for a command."""
    whole = str(text)
    if whole.isprintable():
        return whole
    return "".join(
        each if each.isprintable() else ascii(each)[1:-1] for each in " ".join(whole.split())
    )


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
