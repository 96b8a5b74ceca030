"""Write the metrics of every epoch as a line of JSON."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from callboard._core import fs
from callboard._core.callback import Callback
from callboard._core.errors import FileFormatError

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["JSONLLogger"]

_OWN = ("epoch", "step", "time")


class JSONLLogger(Callback):
    """Write one line of strict JSON an epoch, with its metrics sorted by name.

    A line has ``epoch`` (from 0), ``step`` (training batches of the run so far), ``time`` (seconds
    since 1970) and the metrics, each under its name; one that is called like one of the three is
    ``epoch_``, ``step_`` or ``time_``. JSON has no numbers for them, so NaN and infinities are the
    texts "NaN", "Infinity" and "-Infinity", which ``float`` reads. Arrays are lists; what JSON does
    not know is its text. Every line is in the file when its epoch has ended. A run that is gone on
    with cuts off the lines that were written after its backup. Parent folders are made.

    Args:
        filename: Path of the file, by custom with the suffix ``.jsonl``.
        append: Go on behind the lines of an earlier run.

    Raises:
        FileFormatError: With ``append``, if the file there is no such log.
        OSError: If the file cannot be written; the lines before are still there.

    Example:
        >>> import json, pathlib, tempfile
        >>> from callboard.testing import ScriptedRun
        >>> log = pathlib.Path(tempfile.mkdtemp(), "log.jsonl")
        >>> _ = ScriptedRun([0.5, float("nan")], monitor="loss").play(JSONLLogger(log))
        >>> for line in log.read_text().splitlines():
        ...     print({name: value for name, value in json.loads(line).items() if name != "time"})
        {'epoch': 0, 'step': 1, 'loss': 0.5}
        {'epoch': 1, 'step': 2, 'loss': 'NaN'}

    Source: https://jsonlines.org, RFC 8259.
    """

    order: ClassVar[int] = 10
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(self, filename: str | os.PathLike[str], append: bool = False) -> None:
        self.filename = os.fspath(filename)
        self.append = append
        self._path = Path(filename)
        self._begun = False  # whether what is in the file is to stay
        self._file: BinaryIO | None = None
        self._unsynced = False

    def check(self) -> None:
        """Check that the file can be written, and goes on from the lines in it."""
        fs.writable_file(self._path)
        if self.append and self._path.exists() and self._path.stat().st_size:
            self._check_log()
            self._begun = True

    def writes(self) -> Iterable[Path]:
        """Return the file."""
        return (self._path,)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the epoch's line."""
        step = 0 if self._run is None else self._run.progress.step
        values: dict[str, Any] = {"epoch": epoch, "step": step, "time": round(time.time(), 3)}
        for name, value in sorted((logs or {}).items(), key=_name):
            values[f"{name}_" if name in _OWN else name] = _plain(value)
        # ASCII, as some of the other characters end a line for some programs.
        line = json.dumps(values, allow_nan=False).encode("ascii")
        if not self._begun:
            with fs.replacing(self._path):
                self._begun = True
        if self._file is None:
            self._file = fs.append(self._path)
            _end_last_line(self._file)
        self._file.write(line + b"\n")
        self._file.flush()
        self._unsynced = True

    def settle(self) -> None:
        """Make the lines durable."""
        if self._file is not None and self._unsynced:
            fs.sync(self._file)
            self._unsynced = False

    def close(self) -> None:
        """Sync and close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            with file:
                fs.sync(file)

    def reset(self) -> None:
        """Begin a new file, or with ``append`` go on with the one there is."""
        self._begun = False

    def state_dict(self) -> dict[str, Any]:
        """Return how much of the file is written."""
        size = self._path.stat().st_size if self._begun and self._path.exists() else 0
        return {"begun": self._begun, "size": size}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind what was written; lines that came later are cut off."""
        super().load_state_dict(state)
        self._begun = state["begun"]
        if self._begun and not (self._run and self._run.trainable.rank):
            self._cut_back(state["size"])

    def _cut_back(self, size: int) -> None:
        if not self._path.exists():
            return self._warn_of_loss("is gone")
        there = self._path.stat().st_size
        if there < size:
            return self._warn_of_loss(f"has {there} bytes instead of {size}")
        with self._path.open("rb") as file:
            file.seek(max(size - 1, 0))
            is_line_end = not size or file.read(1) == b"\n"
        if not is_line_end:
            return self._warn_of_loss("was changed")
        return fs.cut_back(self._path, size)

    def _warn_of_loss(self, what: str) -> None:
        warnings.warn(
            f"JSONLLogger: the training goes on, and its log {self.filename!r} {what}; lines "
            "written before may be missing in it",
            RuntimeWarning,
            stacklevel=2,
        )

    def _check_log(self) -> None:
        with self._path.open("rb") as file:
            first = file.readline()
        try:
            begins = json.loads(first)
        except ValueError:  # also bytes that are no text
            begins = None
        if not isinstance(begins, dict) or "epoch" not in begins:
            raise FileFormatError(
                f"{self.filename!r} is no log that can be gone on with: its first line should be "
                f"an object with 'epoch', and is {first[:40]!r}; pass append=False or another "
                "filename"
            )


def _name(item: tuple[str, Any]) -> str:
    return item[0]


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)


def _end_last_line(file: BinaryIO) -> None:
    """End a last line that a crash of the machine left open, so that the next is not lost too."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
