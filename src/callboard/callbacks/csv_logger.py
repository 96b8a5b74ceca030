"""Write the metrics of every epoch to a CSV file."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from callboard._core import fs
from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError, FileFormatError
from callboard.callbacks.arguments import flag, path

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["CSVLogger"]

_MISSING = "NA"


class CSVLogger(Callback):
    """Write one row an epoch: the epoch (from 0) and its metrics, sorted by name.

    A metric that comes up later (a validation every few epochs) gets a column of its own at the
    end: the file is written anew, whole, with the wider header, and earlier rows have ``NA`` there.
    Every row is in the file when the epoch has ended. Parent folders are made.

    Args:
        filename: Path of the CSV file.
        separator: One character between the values.
        append: Go on behind the rows of an earlier run, whose columns are read from its header.

    Raises:
        ConfigurationError: If ``separator`` is not one character.
        FileFormatError: With ``append``, if the file there is no such log.
        OSError: If the file cannot be written; the rows before are still there.

    Example:
        >>> import pathlib, tempfile
        >>> from callboard.testing import ScriptedRun
        >>> log = pathlib.Path(tempfile.mkdtemp(), "log.csv")
        >>> _ = ScriptedRun({"loss": [0.5, 0.25], "val_loss": [None, 0.3]}).play(CSVLogger(log))
        >>> print(log.read_text())
        epoch,loss,val_loss
        0,0.5,NA
        1,0.25,0.3

    Source: Keras 3.15 ``CSVLogger``, which invents and drops columns (docs/differences.md).
    """

    order: ClassVar[int] = 10
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        filename: str | os.PathLike[str],
        separator: str = ",",
        append: bool = False,
    ) -> None:
        if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
            raise ConfigurationError(
                f"separator must be one character, not a quote or line break; got {separator!r}"
            )
        self.filename = path(filename, "filename")
        self.separator = separator
        self.append = flag(append, "append")
        self._path = Path(self.filename)
        self._columns: list[str] | None = None  # None: the file was not begun
        self._file: BinaryIO | None = None
        self._rows_written = 0  # those of an earlier run included
        self._unsynced = False

    def check(self) -> None:
        """Check that the file can be written, and goes on from the rows in it."""
        fs.writable_file(self._path)
        if self.append:
            self._columns = self._existing_columns()
            self._rows_written = 0 if self._columns is None else len(self._rows())

    def writes(self) -> Iterable[Path]:
        """Return the CSV file."""
        return (self._path,)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the epoch's row."""
        if self._file is not None and fs.is_removed(self._file.fileno()):
            self.close()
            self._lose_rows()
        values = {name: _cell(value) for name, value in (logs or {}).items()}
        added = sorted(name for name in values if name not in (self._columns or ()))
        if added or self._columns is None:
            self._add_columns(added)
        if self._file is None:
            self._file = fs.append(self._path)
            self._go_on(self._file)
        row = [str(epoch), *(values.get(name, _MISSING) for name in self._columns or ())]
        self._file.write(self._line(row))
        self._file.flush()
        self._rows_written += 1
        self._unsynced = True

    def settle(self) -> None:
        """Make the rows durable."""
        if self._file is not None and self._unsynced:
            fs.sync(self._file)
            self._unsynced = False

    def close(self) -> None:
        """Sync and close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            with file:
                fs.sync(file)

    def _go_on(self, file: BinaryIO) -> None:
        """Write the header if the file is gone; end a last row that a crash left open."""
        if not file.seek(0, os.SEEK_END):
            file.write(self._line(["epoch", *(self._columns or ())]))
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")

    def _existing_columns(self) -> list[str] | None:
        """Return the metrics in the header of the file there is, None if there is no file."""
        if not self._path.exists() or not self._path.stat().st_size:
            return None
        header: list[str] = []
        with (
            contextlib.suppress(UnicodeDecodeError, csv.Error),
            self._path.open(newline="", encoding="utf-8") as file,
        ):
            header = next(csv.reader(file, delimiter=self.separator), [])
        if not header or header[0] != "epoch":
            raise FileFormatError(
                f"{self.filename!r} is no log that can be gone on with: its first column should be "
                f"'epoch', and its header is {header}; pass append=False or another filename"
            )
        return header[1:]

    def _add_columns(self, names: list[str]) -> None:
        """Write the file anew with more columns; the rows so far get NA in them."""
        self.close()
        rows = [] if self._columns is None else self._rows()
        self._columns = [*(self._columns or ()), *names]
        with fs.replacing(self._path) as file:
            file.write(self._line(["epoch", *self._columns]))
            for row in rows:
                file.write(self._line(row + [_MISSING] * (1 + len(self._columns) - len(row))))

    def _rows(self) -> list[list[str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.reader(file, delimiter=self.separator) if row][1:]

    def _line(self, cells: list[str]) -> bytes:
        text = io.StringIO(newline="")
        # The writer quotes the characters of its line end only, and a lone \r ends a line too.
        csv.writer(text, delimiter=self.separator, lineterminator="\r\n").writerow(cells)
        return text.getvalue().removesuffix("\r\n").encode() + b"\n"

    def reset(self) -> None:
        """Begin a new file, or with ``append`` go on with the columns of the one there is."""
        self._columns = None
        self._rows_written = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the columns of the file, and how much of it is written."""
        size = 0 if self._columns is None or not self._path.exists() else self._path.stat().st_size
        return {"columns": self._columns, "rows": self._rows_written, "size": size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the file that has these columns; rows that came later are cut off it."""
        super().load_state_dict(state)
        self._columns = state["columns"]
        self._rows_written = state["rows"]
        if self._columns is not None and not (self._run and self._run.trainable.rank):
            self._cut_back(self._columns, state["rows"], state["size"])

    def _cut_back(self, columns: list[str], rows: int, size: int) -> None:
        if not self._path.exists():
            return self._lose_rows()
        there = self._existing_columns()
        if there is None or there[: len(columns)] != columns:
            return self._warn_of_loss(f"has other columns, {there}")
        if there == columns and self._path.stat().st_size >= size:
            return fs.cut_back(self._path, size)
        kept = self._rows()[:rows]  # columns that were added later go too
        with fs.replacing(self._path) as file:
            for row in (["epoch", *columns], *kept):
                file.write(self._line(row[: 1 + len(columns)]))
        if len(kept) < rows:
            self._warn_of_loss(f"has {len(kept)} rows instead of {rows}")
        return None

    def _lose_rows(self) -> None:
        self._rows_written = 0
        self._warn_of_loss("is gone")

    def _warn_of_loss(self, what: str) -> None:
        warnings.warn(
            f"CSVLogger: the training goes on, and its log {self.filename!r} {what}; rows written "
            "before are missing in it",
            RuntimeWarning,
            stacklevel=2,
        )


def _cell(value: Any) -> str:
    """Return a value as text: numbers exactly, arrays as lists."""
    if isinstance(value, str):
        return value
    if hasattr(value, "tolist"):
        value = value.tolist()
    return str(value)
