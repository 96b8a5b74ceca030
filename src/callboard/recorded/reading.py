"""Finding out what a path is, and reading it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from callboard._core.errors import CallboardError, FileFormatError
from callboard.recorded.checkpoints import is_store, read_store
from callboard.recorded.csv_log import read_csv_log
from callboard.recorded.event_files import event_files_in, is_event_file, read_event_files
from callboard.recorded.history_json import is_history, read_history
from callboard.recorded.jsonl_log import read_jsonl_log
from callboard.recorded.recording import Recording, merged

__all__ = ["read_recording", "read_recordings"]

_KINDS = (
    "a log of CSVLogger, a JSONL log, a History as JSON, event files of TensorBoard, a folder of "
    "checkpoints, "
    "or a folder with one of these"
)
_JSONL = (".jsonl", ".ndjson")
_CSV = (".csv", ".tsv")
_DEEPEST = 4  # folders below the one that is given, as in logs/fit/20250101-120000/train


def read_recording(path: str | os.PathLike[str]) -> Recording:
    r"""Read the training that a log, an event file or a folder holds.

    Of a folder everything in it is taken together: logs, event files, checkpoints.

    Args:
        path: A log of CSVLogger, a JSONL log, a ``History.history`` as JSON, an event file of
            TensorBoard or a folder of them, a folder of BackupAndRestore or ModelCheckpoint, or a
            folder with any of these in it.

    Raises:
        FileFormatError: If it is none of these, damaged, has no epoch yet, or is the folder of
            several trainings.
        FileNotFoundError: If it is not there.

    Example:
        >>> import pathlib, tempfile
        >>> log = pathlib.Path(tempfile.mkdtemp(), "log.csv")
        >>> _ = log.write_text("epoch,loss\n0,0.5\n1,0.25\n")
        >>> read_recording(log).history
        {'loss': [0.5, 0.25]}
    """
    recordings = read_recordings(path)
    if len(recordings) > 1:
        names = ", ".join(each.name for each in recordings[:5])
        raise FileFormatError(
            f"{os.fspath(path)!r} holds {len(recordings)} trainings; give one of them: {names}"
        )
    return recordings[0]


def read_recordings(path: str | os.PathLike[str]) -> list[Recording]:
    """Read the training, or the trainings, that a path holds; otherwise as ``read_recording``.

    Several are logs of one kind side by side in a folder, or folders side by side with a log in
    each.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        FileFormatError: If it is nothing that can be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if not path.is_dir():
        return [_read_file(path)]
    name = path.resolve().name
    here = list(_logs_in(path))
    others = _others_in(path)
    below = [each for each in _folders(path) if not is_store(each)]
    if not here and not others:
        parts = {each.name: found for each in below if (found := _all_below(each))}
        if _are_several(list(parts.values())):
            return [merged(each, found) for each, found in parts.items()]
    if _are_several([[each] for each in here]) and not others:
        return here
    found = [*others, *here, *(each for folder in _folders(path) for each in _all_below(folder))]
    if not found:
        raise FileFormatError(f"{str(path)!r} is none of what can be read: {_KINDS}")
    found.sort(key=lambda each: not each.decisions and not each.progress)
    return [merged(name, found)]


def _read_file(path: Path) -> Recording:
    if is_event_file(path):
        return read_event_files([path], path.name)
    with path.open("rb") as file:
        first = file.read(1)
    if path.suffix.lower() not in _JSONL and first == b"{" and is_history(path):
        return read_history(path)
    if path.suffix.lower() in _JSONL or first == b"{":
        return read_jsonl_log(path)
    try:
        return read_csv_log(path)
    except FileFormatError as error:
        if path.suffix.lower() in _CSV:
            raise
        raise FileFormatError(f"{error}. It can be {_KINDS}") from error


def _logs_in(folder: Path) -> Iterator[Recording]:
    """Yield the logs in a folder; other tables may lie beside them."""
    for path in sorted(folder.iterdir()):
        kind = path.suffix.lower()
        told = kind in (*_CSV, *_JSONL) or (kind == ".json" and "history" in path.name.lower())
        if told and path.is_file():
            try:
                yield _read_file(path)
            except FileFormatError:
                continue


def _others_in(folder: Path) -> list[Recording]:
    """Return what a folder is as a whole: checkpoints, event files."""
    if is_store(folder):
        return [read_store(folder)]
    files = event_files_in(folder)
    return [read_event_files(files, folder.name)] if files else []


def _all_below(folder: Path, depth: int = 1) -> list[Recording]:
    try:
        others = _others_in(folder)
    except CallboardError:  # one part that cannot be read does not hide the others
        others = []
    found = [*others, *_logs_in(folder)]
    if depth < _DEEPEST and not others:
        found += [each for below in _folders(folder) for each in _all_below(below, depth + 1)]
    return found


def _are_several(parts: Sequence[Sequence[Recording]]) -> bool:
    """Say whether each part is a training of its own: two have the same kind of record."""
    kinds = [{_kind(each) for each in found} for found in parts]
    return len(set().union(*kinds)) < sum(len(each) for each in kinds)


def _kind(recording: Recording) -> str:
    source = Path(recording.sources[0])
    return "events" if is_event_file(source) else source.suffix


def _folders(folder: Path) -> Sequence[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and each.name[:1] != ".")
