"""Reading the metrics of epochs from TensorBoard's event files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from callboard._core.errors import FileFormatError
from callboard.events.scalars import Restart, read_scalars
from callboard.recorded.recording import Recording

__all__ = ["event_files_in", "is_event_file", "read_event_files"]

_PREFIX = "epoch_"
_PARTS = {"": "", "train": "", "validation": "val_"}


def is_event_file(path: Path) -> bool:
    """Say whether a file's name is that of an event file."""
    return "tfevents" in path.name


def event_files_in(folder: Path) -> list[Path]:
    """Return the event files of one run: in a folder, its "train" and its "validation"."""
    found = []
    for part in _PARTS:
        within = folder / part
        if within.is_dir():
            found += sorted(each for each in within.iterdir() if is_event_file(each))
    return found


def read_event_files(files: Sequence[Path], name: str) -> Recording:
    """Read the scalars ``epoch_*`` of event files, callboard's or Keras's.

    Those in a folder "validation" become ``val_*``. A truncated end is no error.

    Raises:
        FileFormatError: If one is damaged before its end, or none has metrics of epochs.
        OSError: If one cannot be read.
    """
    rows: dict[int, dict[str, float]] = {}
    others: dict[str, None] = {}
    for path in files:
        prefix = _PARTS.get(path.parent.name, "")
        for scalar in read_scalars(path):
            if isinstance(scalar, Restart):
                _forget(rows, scalar.step, prefix)
            elif scalar.tag.startswith(_PREFIX):
                metric = prefix + scalar.tag.removeprefix(_PREFIX)
                rows.setdefault(scalar.step, {})[metric] = scalar.value
            else:
                others[scalar.tag] = None
    rows = {epoch: row for epoch, row in rows.items() if row}
    if not rows:
        there = f"; it has {', '.join(list(others)[:5])}" if others else ""
        where = str(files[0]) if len(files) == 1 else name
        raise FileFormatError(
            f"{where!r} has no scalars of epochs, whose names begin with {_PREFIX!r}{there}"
        )
    return Recording.of_rows(name, rows, sources=[str(path) for path in files])


def _forget(rows: dict[int, dict[str, float]], step: int, prefix: str) -> None:
    """Drop what was written before its writer began anew; steps of batches are larger."""
    for epoch, row in rows.items():
        if epoch >= step:
            for metric in [m for m in row if m.startswith("val_") == bool(prefix)]:
                del row[metric]
