"""Reading a log with one JSON object in each line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from callboard._core.errors import FileFormatError
from callboard.recorded.recording import Recording

__all__ = ["read_jsonl_log"]

_OWN = ("step", "time")  # what JSONLLogger writes beside the metrics
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_jsonl_log(path: Path) -> Recording:
    """Read a log whose lines are JSON objects with "epoch" (from 0) and metrics.

    Lines without an epoch are left out, and so is a last line that was cut off. Of lines with one
    epoch, the later ones count. ``null`` and the words "NaN", "Infinity" and "-Infinity" are
    numbers that strict JSON does not have.

    Raises:
        FileFormatError: If it is no such log, or has no epoch or no metric yet.
        OSError: If it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is no text file, so no JSONL log") from error
    rows: dict[int, dict[str, float]] = {}
    skipped: dict[str, None] = {}
    for epoch, found in _epochs(path, lines):
        row = rows.setdefault(epoch, {})
        for name, value in found.items():
            if _is_number(value):
                row[name] = _WORDS[value] if isinstance(value, str) else _float(value)
            else:
                skipped[name] = None
    if not any(rows.values()):
        missing = "metrics" if rows else 'lines with an "epoch"'
        raise FileFormatError(f"{str(path)!r} has no {missing} yet")
    for row in rows.values():
        for name in skipped:
            row.pop(name, None)
    return Recording.of_rows(path.name, rows, skipped=list(skipped), sources=[str(path)])


def _epochs(path: Path, lines: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield what the lines with an epoch hold."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found = _object(path, line, number, is_last=number == len(lines))
            epoch = found.pop("epoch", None)
            for name in _OWN:
                found.pop(name, None)
            if isinstance(epoch, int) and not isinstance(epoch, bool):
                yield epoch, found


def _object(path: Path, line: str, number: int, *, is_last: bool) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        if is_last:  # a line that is still being written has no end of line yet
            return {}
        raise FileFormatError(
            f"{str(path)!r} has no JSON in line {number}, but {line[:40]!r}"
        ) from error
    if not isinstance(found, dict):
        raise FileFormatError(
            f'{str(path)!r} has {line[:40]!r} in line {number}; an object such as {{"epoch": 0, '
            '"loss": 0.5}} belongs there'
        )
    return found


def _is_number(value: object) -> bool:
    if isinstance(value, str):
        return value in _WORDS
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _float(value: float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf
