"""Reading back the file that ``CSVLogger`` or ``JSONLLogger`` wrote."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from callboard._core.errors import FileFormatError

__all__ = ["TrainingLog", "read_training_log"]

_SEPARATORS = ",;\t"
_MISSING = ("", "NA")


class TrainingLog(NamedTuple):
    """The metrics of every epoch.

    Attributes:
        epochs: The epochs, from 0, ascending.
        history: For each metric its values, one for each epoch; NaN where there is none.
        skipped: Metrics that hold something else than numbers.
    """

    epochs: list[int]
    history: dict[str, list[float]]
    skipped: list[str]


def read_training_log(path: Path) -> TrainingLog:
    """Read a log of ``CSVLogger``, callboard's or Keras's, or of ``JSONLLogger``.

    The separator may be a comma, a semicolon or a tab. An epoch that is there twice, as after a run
    was continued, counts with its last row. A last line that is being written is left out.

    Raises:
        FileFormatError: If it is no such log, or has no epoch or no metric yet.
        OSError: If it cannot be read.
    """
    try:
        # Spreadsheet programs put a byte order mark in front.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is no text file, so no log of CSVLogger") from error
    by_epoch, names = _of_json(path, text) if text.startswith("{") else _of_csv(path, text)
    epochs = sorted(by_epoch)
    if not epochs or not names:
        raise FileFormatError(f"{str(path)!r} has no {'metrics' if epochs else 'epochs'} yet")
    history: dict[str, list[float]] = {}
    skipped: list[str] = []
    for name in names:
        values = _numbers([by_epoch[epoch].get(name) for epoch in epochs])
        if values is None:
            skipped.append(name)
        else:
            history[name] = values
    if not history:
        raise FileFormatError(f"{str(path)!r} has no column of numbers beside 'epoch'")
    return TrainingLog(epochs, history, skipped)


def _of_json(path: Path, text: str) -> tuple[dict[int, Mapping[str, Any]], list[str]]:
    """Return the values of each epoch by name, and the names in the order of their coming."""
    by_epoch: dict[int, Mapping[str, Any]] = {}
    names: dict[str, None] = {}
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            epoch = values.pop("epoch")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            if number == len(lines) and not text.endswith("\n"):
                break
            raise FileFormatError(
                f"{str(path)!r} is no log of JSONLLogger: line {number} should be an object with "
                f"'epoch', and is {_shortened(line)!r}"
            ) from error
        for own in ("step", "time"):
            values.pop(own, None)
        by_epoch[_epoch(path, [str(epoch)])] = values
        names |= dict.fromkeys(values)
    return by_epoch, list(names)


def _of_csv(path: Path, text: str) -> tuple[dict[int, Mapping[str, Any]], list[str]]:
    """Return the cells of each epoch by name, and the names."""
    first = text.partition("\n")[0].strip("\r")
    separator = next((each for each in _SEPARATORS if each in first), ",")
    rows = _rows(path, text, separator)
    header = rows[0] if rows else []
    if header[:1] != ["epoch"]:
        raise FileFormatError(
            f"{str(path)!r} is no log of CSVLogger: its first column should be 'epoch', "
            f"and its first line is {_shortened(first)!r}"
        )
    names = header[1:]
    return {_epoch(path, row): dict(zip(names, row[1:], strict=False)) for row in rows[1:]}, names


def _rows(path: Path, text: str, separator: str) -> list[list[str]]:
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if row]
    except csv.Error as error:
        raise FileFormatError(f"{str(path)!r} is no CSV file: {error}") from error
    for row in rows:
        if len(row) > len(rows[0]):
            raise FileFormatError(
                f"{str(path)!r} has {len(row)} values in the row of epoch {row[0]} and "
                f"{len(rows[0])} names in its header"
            )
    return rows


def _epoch(path: Path, row: Sequence[str]) -> int:
    try:
        return int(row[0])
    except ValueError:
        raise FileFormatError(
            f"{str(path)!r} has {_shortened(row[0])!r} in the column 'epoch'; whole numbers belong "
            "there"
        ) from None


def _numbers(values: Sequence[Any]) -> list[float] | None:
    """Return a metric's numbers, or None if it holds other things; one may be missing."""
    numbers = []
    for value in values:
        if value is None or value in _MISSING:
            numbers.append(math.nan)
            continue
        try:
            numbers.append(float(value))
        except (TypeError, ValueError):
            return None
    return numbers


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
