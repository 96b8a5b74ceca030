"""Reading what a checkpoint knows of its run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callboard._core.errors import FileFormatError, NoCheckpointError
from callboard._core.journal import Journal
from callboard.checkpoint import CheckpointStore
from callboard.recorded.recording import Recording

__all__ = ["is_store", "read_store"]

_RUN, _HISTORY = "run", "callback.History"
_COUNTERS = ("step", "samples")


def is_store(folder: Path) -> bool:
    """Say whether a folder has checkpoints, as of BackupAndRestore or ModelCheckpoint."""
    return any(True for _ in folder.glob("step-*/manifest.json"))


def read_store(folder: Path) -> Recording:
    """Read the run in the newest checkpoint that is whole; no weights are read, nothing is changed.

    Raises:
        NoCheckpointError: If there is none that is whole.
        FileFormatError: If it has only weights, or no epoch yet.
    """
    store = CheckpointStore(folder)
    damaged = []
    for checkpoint in reversed(store.checkpoints()):
        try:
            state = store.load(checkpoint.name, only=[_RUN, _HISTORY])
        except FileFormatError as error:
            damaged.append(str(error))
            continue
        return _of_state(folder, store.path(checkpoint), state)
    told = f": {'; '.join(damaged)}" if damaged else ""
    raise NoCheckpointError(f"there is no whole checkpoint in {str(folder)!r}{told}")


def _of_state(folder: Path, path: Path, state: Mapping[str, Any]) -> Recording:
    run, history = state.get(_RUN), state.get(_HISTORY)
    if run is None or history is None:
        raise FileFormatError(f"{str(path)!r} holds weights without the run that made them")
    epochs = [int(epoch) for epoch in history["epoch"]]
    if not epochs or not history["history"]:
        raise FileFormatError(f"{str(path)!r} has no epochs with metrics yet")
    numbers, skipped = {}, []
    for name, values in history["history"].items():
        if all(isinstance(value, (int, float)) for value in values):
            numbers[name] = [float(value) for value in values]
        else:
            skipped.append(name)
    journal = Journal()
    journal.load_state_dict(run["journal"])
    progress = {name: run["progress"][name] for name in _COUNTERS}
    if math.isfinite(run["elapsed_s"]):
        progress["elapsed_s"] = run["elapsed_s"]
    if run["stop_reason"]:
        progress["stop_reason"] = run["stop_reason"]
    return Recording(
        folder.name,
        epochs,
        numbers,
        skipped,
        list(journal),
        progress,
        dict(run.get("configuration", {})),
        dict(run["environment"]),
        [str(path)],
    )
