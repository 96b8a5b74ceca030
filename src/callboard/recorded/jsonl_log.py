"""Reading a log with one JSON object in each line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from callboard._core.errors import FileFormatError
from callboard._core.journal import Decision
from callboard.recorded.recording import Recording

__all__ = ["number_of", "read_jsonl_log"]

_OWN = ("batch", "step", "time")  # what JSONLLogger writes beside the metrics
_SETUP = ("configuration", "environment")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def read_jsonl_log(path: Path) -> Recording:
    """Read a log whose lines are JSON objects with "epoch" (from 0) and metrics.

    Lines without an epoch are left out, and so is a last line that was cut off. Of lines with one
    epoch, the later ones count; lines with "batch" only where there are no others in the log, as
    they are of an epoch that has not ended. ``null`` and the words "NaN", "Infinity" and
    "-Infinity" are numbers that strict JSON does not have. Of a log with a journal, decisions,
    configuration and environment are read too.

    Raises:
        FileFormatError: If it is no such log, or has no epoch or no metric yet.
        OSError: If it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is no text file, so no JSONL log") from error
    log = _Log()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            log.add(_object(path, line, number, is_last=number == len(lines)))
    rows, skipped = log.epochs or log.batches, log.skipped
    if not any(rows.values()):
        missing = "metrics" if rows else 'lines with an "epoch"'
        raise FileFormatError(f"{str(path)!r} has no {missing} yet")
    for row in rows.values():
        for name in skipped:
            row.pop(name, None)
    return Recording.of_rows(
        path.name,
        rows,
        skipped=list(skipped),
        decisions=log.decisions,
        progress=log.counters(),
        configuration=log.setup.get("configuration", {}),
        environment=log.setup.get("environment", {}),
        sources=[str(path)],
    )


class _Log:
    """What the lines of a log have told so far."""

    def __init__(self) -> None:
        self.epochs: dict[int, dict[str, float]] = {}
        self.batches: dict[int, dict[str, float]] = {}
        self.skipped: dict[str, None] = {}
        self.decisions: list[Decision] = []
        self.progress: dict[str, Any] = {}
        self.setup: dict[str, dict[str, Any]] = {}
        self._moments: list[tuple[Any, Any]] = []  # steps done and the time, after each epoch

    def add(self, line: dict[str, Any]) -> None:
        """Take in a line."""
        epoch = line.pop("epoch", None)
        if not isinstance(epoch, int) or isinstance(epoch, bool):
            self.setup |= {n: line[n] for n in _SETUP if isinstance(line.get(n), dict)}
            return
        step = line.get("step")
        if isinstance(step, int) and step > 0:
            self.progress["step"] = step
        if isinstance(line.get("decision"), str):
            self._add_decision(epoch, line)
            return
        if "batch" not in line:
            self._moments.append((step, line.get("time")))
        row = (self.batches if "batch" in line else self.epochs).setdefault(epoch, {})
        for name in _OWN:
            line.pop(name, None)
        for name, value in line.items():
            number = number_of(value)
            if number is None:
                self.skipped[name] = None
            else:
                row[name] = number

    def counters(self) -> dict[str, Any]:
        """Return the counters of the run, with the usual speed: it may have been interrupted."""
        known = [(s, t) for s, t in self._moments if _is_number(s) and _is_number(t)]
        pairs = zip(known[1:], known[:-1], strict=True)
        speeds = [(s - s0) / (t - t0) for (s, t), (s0, t0) in pairs if t > t0 and s > s0]
        return self.progress | ({"steps_per_second": median(speeds)} if speeds else {})

    def _add_decision(self, epoch: int, line: Mapping[str, Any]) -> None:
        step = line.get("step")
        made = Decision(
            str(line.get("callback", "")),
            line["decision"],
            epoch,
            step if isinstance(step, int) else 0,
            str(line.get("cause", "")),
        )
        if made.action == "stopped":
            self.progress["stop_reason"] = made.cause
        self.decisions.append(made)


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
    return isinstance(value, int | float) and math.isfinite(value)


def number_of(value: object) -> float | None:
    """Return a value of JSON as a number, or None if it is none.

    Example:
        >>> number_of(2), number_of(None), number_of("Infinity"), number_of("high")
        (2.0, nan, inf, None)
    """
    if value is None:
        return math.nan
    if isinstance(value, str):
        return _WORDS.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
