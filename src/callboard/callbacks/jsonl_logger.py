"""Write the metrics of epochs, and of batches if asked to, as lines of JSON."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from callboard._core import fs
from callboard._core.callback import Callback
from callboard._core.configuration import Configuration
from callboard._core.environment import environment
from callboard._core.errors import FileFormatError
from callboard._core.every import Every
from callboard.callbacks.arguments import flag, path
from callboard.callbacks.update_freq import batches_between

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["JSONLLogger"]

_OWN = ("epoch", "batch", "step", "time", "decision")


class JSONLLogger(Callback):
    """Write one line of strict JSON an epoch, with its metrics sorted by name.

    A line has ``epoch`` (from 0), ``step`` (training batches of the run so far), ``time`` (seconds
    since 1970) and the metrics, each under its name; one that is called like one of these is
    ``epoch_``, ``step_`` or ``time_``. A line of a batch has ``batch`` (from 0 in its epoch) too;
    its metrics are the means of the epoch so far. JSON has no numbers for them, so NaN and
    infinities are the texts "NaN", "Infinity" and "-Infinity", which ``float`` reads. Arrays are
    lists; what JSON does not know is its text. Every line is in the file when its epoch, or its
    batch, has ended. A run that is gone on with cuts off the lines that were written after its
    backup. Parent folders are made.

    Args:
        filename: Path of the file, by custom with the suffix ``.jsonl``.
        append: Go on behind the lines of an earlier run.
        update_freq: "epoch", or also write the metrics of batches: "batch" for each batch, or every
            so many, counted over the epochs. Others are not read from the device.
        journal: Also write how the run is set up, as a first line with ``configuration`` and
            ``environment``, and each decision of a callback, as a line with ``decision``: so that
            ``callboard report`` of the log shows them.

    Raises:
        ConfigurationError: For an impossible ``update_freq``.
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

    _begun: bool  # whether what is in the file is to stay
    _every: Every | None
    _configuration: Configuration | None
    _told_setup: bool
    _decided: int  # decisions that are in the file

    def __init__(
        self,
        filename: str | os.PathLike[str],
        append: bool = False,
        *,
        update_freq: int | str = "epoch",
        journal: bool = False,
    ) -> None:
        self.filename = path(filename, "filename")
        self.append = flag(append, "append")
        self.update_freq = update_freq
        self.journal = flag(journal, "journal")
        self._path = Path(self.filename)
        self._period = batches_between(update_freq)
        self._file: BinaryIO | None = None
        self._unsynced = False
        self.reset()
        if self._period:
            # Set here, not defined in the class: so that epochs alone cost nothing per batch.
            self.on_train_batch_end = self._log_batch  # type: ignore[method-assign] # as said

    def check(self) -> None:
        """Check that the file can be written, and goes on from the lines in it."""
        fs.writable_file(self._path)
        if self.append and self._path.exists() and self._path.stat().st_size:
            self._check_log()
            self._begun = True

    def writes(self) -> Iterable[Path]:
        """Return the file."""
        return (self._path,)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Note how the run is set up, for the first line."""
        if self.journal:
            self._configuration = Configuration(self.run)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the epoch's line."""
        step = 0 if self._run is None else self._run.progress.step
        self._write({"epoch": epoch, "step": step}, logs)

    def _log_batch(self, batch: int, logs: Logs | None = None) -> None:
        at = self.run.progress
        # Logs are read, which may wait for a device, only when a line is due.
        if self._every is not None and self._every.due(step=at.step):
            self._write({"epoch": at.epoch, "batch": batch, "step": at.step}, logs)

    def _write(self, at: Mapping[str, int], logs: Logs | None) -> None:
        """Add a line of metrics, and what else there is to tell."""
        values: dict[str, Any] = {**at, "time": round(time.time(), 3)}
        for name, value in sorted((logs or {}).items(), key=_name):
            values[f"{name}_" if name in _OWN else name] = _plain(value)
        if not self._begun:
            with fs.replacing(self._path):
                self._begun = True
        if self._file is not None and fs.is_removed(self._file.fileno()):
            self._file.close()
            self._file = None
            self._warn_of_loss("is gone")
        if self._file is None:
            self._file = fs.append(self._path)
            _end_last_line(self._file)
        lines = [*self._of_setup(), values, *self._of_decisions()]
        # ASCII, as some of the other characters end a line for some programs.
        text = "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines)
        self._file.write(text.encode("ascii"))
        self._file.flush()
        self._unsynced = True

    def _of_setup(self) -> Iterator[dict[str, Any]]:
        if self._configuration is not None and not self._told_setup:
            self._told_setup = True
            yield _plain(
                {"configuration": self._configuration.as_dict(), "environment": environment()}
            )

    def _of_decisions(self) -> Iterator[dict[str, Any]]:
        if self._configuration is None:
            return
        journal = self.run.journal
        for each in journal[self._decided :]:
            yield {
                "epoch": each.epoch,
                "step": each.step,
                "decision": each.action,
                "callback": each.callback,
                "cause": each.cause,
            }
        self._decided = len(journal)

    def settle(self) -> None:
        """Make the lines durable."""
        if self._file is not None and self._unsynced:
            fs.sync(self._file)
            self._unsynced = False

    def close(self) -> None:
        """Write the last decisions, sync and close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            with file:
                for line in self._of_decisions():
                    file.write(f"{json.dumps(line)}\n".encode("ascii"))
                fs.sync(file)

    def reset(self) -> None:
        """Begin a new file, or with ``append`` go on with the one there is."""
        self._begun = False
        self._every = Every(f"{self._period} steps") if self._period else None
        self._configuration = None
        self._told_setup = False
        self._decided = 0

    def state_dict(self) -> dict[str, Any]:
        """Return how much of the file is written."""
        size = self._path.stat().st_size if self._begun and self._path.exists() else 0
        every = None if self._every is None else self._every.state_dict()
        told = {"setup": self._told_setup, "decisions": self._decided}
        return {"begun": self._begun, "size": size, "every": every, "told": told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind what was written; lines that came later are cut off."""
        super().load_state_dict(state)
        self._begun = state["begun"]
        if self._every is not None and state.get("every") is not None:
            self._every.load_state_dict(state["every"])
        told = state.get("told", {})
        self._told_setup, self._decided = told.get("setup", False), told.get("decisions", 0)
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
        if not isinstance(begins, dict) or not {"epoch", "configuration"} & begins.keys():
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
