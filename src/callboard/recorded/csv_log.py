"""Reading back the file that ``CSVLogger`` wrote."""

from __future__ import annotations

import contextlib
import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from callboard._core.errors import FileFormatError
from callboard.recorded.recording import Recording

__all__ = ["read_csv_log"]

_SEPARATORS = ",;\t"
_MISSING = ("", "NA")


def read_csv_log(path: Path) -> Recording:
    """Read a log of ``CSVLogger``, callboard's or Keras's.

    Its separator may be a comma, a semicolon or a tab. An epoch that is there twice, as after a run
    was continued, counts with its last row.

    Raises:
        FileFormatError: If it is no such log, or has no epoch or no metric yet.
        OSError: If it cannot be read.
    """
    try:
        # Spreadsheet programs put a byte order mark in front.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{str(path)!r} is no text file, so no log of CSVLogger") from error
    if not text.strip():
        raise FileFormatError(f"{str(path)!r} is empty")
    first = text.partition("\n")[0].strip("\r")
    separator = next((each for each in _SEPARATORS if each in first), ",")
    rows = _rows(path, text, separator)
    header = rows[0] if rows else []
    if header[:1] != ["epoch"]:
        raise FileFormatError(
            f"{str(path)!r} is no log of CSVLogger: its first column should be 'epoch', "
            f"and its first line is {_shortened(first)!r}"
        )
    by_epoch = {_epoch(path, row): row for row in rows[1:]}
    epochs = sorted(by_epoch)
    if not epochs or len(header) == 1:
        raise FileFormatError(f"{str(path)!r} has no {'metrics' if epochs else 'epochs'} yet")
    history: dict[str, list[float]] = {}
    skipped: list[str] = []
    columns = list(itertools.zip_longest(*map(by_epoch.__getitem__, epochs), fillvalue=""))
    columns += [("",) * len(epochs)] * (len(header) - len(columns))
    for name, cells in zip(header[1:], columns[1:], strict=True):
        values = _numbers(cells)
        if values is None:
            skipped.append(name)
        else:
            history[name] = values
    if not history:
        raise FileFormatError(f"{str(path)!r} has no column of numbers beside 'epoch'")
    return Recording(path.name, epochs, history, skipped, sources=[str(path)])


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


def _numbers(cells: Sequence[str]) -> list[float] | None:
    """Return a column's numbers, or None if it holds other things; a cell may be missing."""
    with contextlib.suppress(ValueError):
        return list(map(float, cells))  # nearly always, and several times as fast
    with contextlib.suppress(ValueError):
        return [math.nan if cell in _MISSING else float(cell) for cell in cells]
    return None


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
