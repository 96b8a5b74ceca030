"""What stands for the parts of a training in a replay: nothing is trained, written or printed."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from callboard import callbacks as ours
from callboard._core.callback import Callback
from callboard._core.errors import UnsupportedError
from callboard._core.history import History
from callboard._core.hosted import HostedRun
from callboard._core.monitor import Mode
from callboard.callbacks.checkpoint_folder import CheckpointFolder
from callboard.callbacks.monitor_callback import MonitorCallback
from callboard.checkpoint.keep import Checkpoint, surplus

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["ModelCheckpoint", "NoHistory", "ReplayedModel", "ReplayedRun", "only_deciding"]


class ReplayedModel:
    """Stands for the model that was trained then: it has a learning rate, and no weights."""

    synchronous = True
    rank = 0
    rate_controller = ""

    def __init__(self, learning_rate: float) -> None:
        self.model = self
        self.stop_training = False
        self.learning_rate = learning_rate
        self.epoch = 0
        self.saved: dict[str, int] = {}  # files, and the epochs they would be of

    def weights(self, into: object = None) -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Return no weights: a record has none."""
        return {}

    def set_weights(self, weights: object) -> None:
        """Have none to set; that they would have been is in the journal."""

    def nonfinite(self) -> str:
        """Take the weights for finite."""
        return ""

    def save(self, path: Path, *, weights_only: bool) -> None:  # noqa: ARG002 - the protocol's
        """Note which epoch the file would be of, and write nothing."""
        self.saved[str(path)] = self.epoch

    def reduced(self, logs: Any) -> Any:
        """Return the metrics: there is one process."""
        return logs


class _Folder(CheckpointFolder):
    """A folder of checkpoints, none of which is written."""

    def open(self, monitor: str, mode: Mode, *, writes: bool) -> None:  # noqa: ARG002 - the folder's
        """Set the rules."""
        self._rules = self.rules(monitor, mode)
        self.kept: list[Checkpoint] = []

    def best_value(self, monitor: str) -> None:
        """Return None: what is on the disk is of another run."""

    def save(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Note the checkpoint, and forget those that no rule keeps."""
        number = self.kept[-1].number + 1 if self.kept else 1
        self.kept.append(Checkpoint(str(number), number, 0, run.progress.epoch + 1, dict(metrics)))
        for old in surplus(self.kept, self._rules):
            self.kept.remove(old)

    def close(self, run: Run | None) -> None:
        """Have nothing open."""


class ModelCheckpoint(ours.ModelCheckpoint):
    """A checkpoint that is only decided on."""

    def __init__(self, filepath: str, **options: Any) -> None:
        super().__init__(filepath, **options)
        self.folder: _Folder | None = None
        if self._folder is not None:
            self._folder = self.folder = _Folder(
                filepath,
                self._folder.retention,
                weights_only=self.save_weights_only,
                best_only=self.save_best_only,
            )

    def check(self) -> None:
        """Check the metric and the placeholders; no file has to be writable."""
        if self.folder is not None:
            super().check()
            return
        if self.save_best_only:
            MonitorCallback.check(self)
        self._filename.check(self.run.metric_names)

    def writes(self) -> Iterable[Path]:
        """Return nothing."""
        return ()


class ReplayedRun(HostedRun):
    """A run without the callbacks that every run gets.

    Attributes:
        recorded: The metrics that there are.
    """

    witnesses: ClassVar[tuple[Callback, ...]] = ()
    recorded: Iterable[str] = ()

    @property
    def metric_names(self) -> frozenset[str] | None:
        """Names that were recorded, and those that callbacks add."""
        names = super().metric_names
        if names is None:
            return None
        possible = {*(self.metrics or ()), *(f"val_{name}" for name in self.metrics or ())}
        return names - (possible - {*self.recorded})


class NoHistory(History):
    """Keeps nothing: the record is there, and callbacks of ours look at the logs alone."""

    on_epoch_end = Callback.on_epoch_end


def only_deciding(callback: Callback) -> Callback:
    """Return a copy that prints and writes nothing."""
    name = type(callback).__name__
    if isinstance(callback, ours.ModelCheckpoint):
        return _checkpoint(callback)
    if any(True for _ in callback.writes()) or not isinstance(callback, Callback):
        raise UnsupportedError(
            f"{name} writes files, which is not replayed; pass callbacks that decide: "
            "EarlyStopping, ReduceLROnPlateau, ModelCheckpoint"
        )
    copied = copy.deepcopy(callback)
    copied.reset()
    if hasattr(copied, "verbose"):
        copied.verbose = 0
    return copied


def _checkpoint(callback: ours.ModelCheckpoint) -> Callback:
    folder = callback._folder  # noqa: SLF001 - of the same library
    period = callback._every  # noqa: SLF001 - as above
    if period.unit != "epoch" or (folder is not None and folder.looks_at_batches):
        raise UnsupportedError(
            f"ModelCheckpoint({callback.filepath!r}) saves between the ends of epochs, of which a "
            "record knows nothing; pass save_freq='epoch' (or '2 epochs'), and no "
            "every_n_steps and every_seconds"
        )
    return ModelCheckpoint(
        callback.filepath,
        monitor=callback.monitor,
        save_best_only=callback.save_best_only,
        save_weights_only=callback.save_weights_only,
        mode=callback.mode,
        save_freq=callback.save_freq,
        initial_value_threshold=callback._baseline,  # noqa: SLF001 - of the same library
        **({} if folder is None else folder.retention._asdict()),
    )
