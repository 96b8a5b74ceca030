"""Save the model, every time or when a metric got better."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core import fs
from callboard._core.errors import ConfigurationError
from callboard._core.every import Every
from callboard._core.monitor import check_threshold
from callboard._core.trainable import check_state
from callboard.callbacks.arguments import flag, path, verbosity
from callboard.callbacks.checkpoint_folder import CheckpointFolder, Retention, is_folder
from callboard.callbacks.filename import Filename
from callboard.callbacks.monitor_callback import MonitorCallback

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["ModelCheckpoint", "save_period"]


class ModelCheckpoint(MonitorCallback):
    """Save the model or its weights at the end of epochs, or every so many batches.

    A file is written whole and durably or not at all: to a temporary name in the same folder,
    synced, renamed. Parent folders are made. A model that holds NaN or infinities is never
    saved, and with ``save_best_only`` neither is one that was not evaluated.

    A path without a suffix is a folder of verified checkpoints, each with the state of the whole
    run: a :class:`callboard.checkpoint.CheckpointStore`. They are written in the background, and
    ``save_top_k``, ``keep_last`` and ``every_...`` say which to keep; without any of them the
    newest one is kept, and with ``save_best_only`` the best. ``callboard checkpoints list FOLDER``
    shows them, ``Model.load_weights`` loads one, or the best of the folder.

    Args:
        filepath: Where to save. Its suffix says the format: ``.weights.h5``, ``.safetensors``
            (weights), ``.h5``, ``.pt`` (weights and optimizer). May have placeholders as in
            ``str.format``: ``{epoch}`` (from 1), ``{batch}`` (from 1, if saved by batches) and the
            names of metrics: ``"{epoch:02d}-{val_loss:.2f}.pt"``.
        monitor: Name of the metric that ``save_best_only`` goes by.
        verbose: 1 prints what is decided.
        save_best_only: Save only when the metric is better than ever before.
        save_weights_only: Leave the optimizer's state out of ``.h5`` and ``.pt``.
        mode: "min" if lower is better, "max" if higher is, "auto" to know it from the metric.
        save_freq: "epoch", a number of batches (counted over the epochs), or a period such as
            "500 steps", "2 epochs", "10 min".
        initial_value_threshold: With ``save_best_only``, the value that has to be beaten first.
        save_top_k: In a folder, keep the checkpoints with the best values of ``monitor``.
        keep_last: In a folder, keep the newest ones.
        every_n_epochs: In a folder, save every so many epochs too, and keep these for ever.
        every_n_steps: The same by training steps.
        every_seconds: The same by time.
        save_on_exception: In a folder, save too when the run is interrupted by a signal or an
            error; not before the first step, and not if weights are NaN or infinite. After an error
            in the middle of a step, weights may be those of half a step.

    Attributes:
        best: The best value so far. It is kept from one run of this object to the next, and that of
            a folder is found there again, so that a worse model never replaces a better one.

    Raises:
        ConfigurationError: For a suffix that the model cannot be saved under, an impossible
            ``save_freq`` or placeholder; all before the first batch.
        MetricNotFoundError: If the metric cannot come up, as early as that shows.
        UnsupportedError: In a run without a model.
        OSError: If the file cannot be written; the one before it is still whole.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> run = ScriptedRun([0.9, 0.7, 0.8], monitor="val_loss")
        >>> run.play(ModelCheckpoint("best-{epoch}.pt", save_best_only=True)).saved
        [('best-1.pt', 0.0), ('best-2.pt', 1.0)]

    Source: Keras 3.15 ``ModelCheckpoint``; docs/differences.md lists where it is safer.
    """

    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
        *,
        save_top_k: int = 0,
        keep_last: int = 0,
        every_n_epochs: int = 0,
        every_n_steps: int = 0,
        every_seconds: float = 0,
        save_on_exception: bool = False,
    ) -> None:
        check_threshold(initial_value_threshold, "initial_value_threshold")
        super().__init__(monitor, mode, baseline=initial_value_threshold)
        self.filepath = path(filepath, "filepath")
        retention = Retention(save_top_k, keep_last, every_n_epochs, every_n_steps, every_seconds)
        self.save_on_exception = flag(save_on_exception, "save_on_exception")
        self._folder: CheckpointFolder | None = None
        if is_folder(self.filepath):
            self._folder = CheckpointFolder(
                self.filepath,
                retention,
                weights_only=save_weights_only,
                best_only=flag(save_best_only, "save_best_only"),
            )
            if save_on_exception:
                self.on_interrupt = self._save_at_interruption  # type: ignore[method-assign] # only then
        elif save_on_exception or retention != Retention():
            raise ConfigurationError(
                "save_top_k, keep_last, every_n_epochs, every_n_steps, every_seconds and "
                f"save_on_exception are for a folder of checkpoints, and {self.filepath!r} is a "
                "file; pass a path without a suffix, or one that ends in '/'"
            )
        self.verbose = verbosity(verbose)
        self.save_best_only = flag(save_best_only, "save_best_only")
        self.save_weights_only = flag(save_weights_only, "save_weights_only")
        self.save_freq = save_freq
        self._every = save_period(save_freq)
        self._interrupted = False
        self._saved_to = ""
        self._filename = Filename(self.filepath, batch=self._every.unit != "epoch")
        if save_best_only and self._every.unit != "epoch" and monitor.startswith("val_"):
            raise ConfigurationError(
                f"save_best_only with save_freq={save_freq!r} compares between validations, when "
                f"{monitor!r} is not known; pass monitor='loss' or save_freq='epoch'"
            )
        if self._every.unit != "epoch" or (self._folder and self._folder.looks_at_batches):
            # Set here, not defined in the class: so that saving by epochs costs nothing per batch.
            self.on_train_batch_end = self._save_by_batches  # type: ignore[method-assign] # as said

    def check(self) -> None:
        """Check the metric, the placeholders, the suffix and that the file can be written."""
        if self.save_best_only or (self._folder and self._folder.retention.save_top_k):
            super().check()
        if self._folder is not None:
            _ = self.run.trainable.nonfinite  # a run without a model has none, and says so
            check_state(self.run.trainable)
            self._folder.open(self.monitor, self._watched.mode, writes=not self.run.trainable.rank)
            if self.best is None:
                self.best = self._folder.best_value(self.monitor)
            return
        self._filename.check(self.run.metric_names)
        path = Path(self.filepath)
        self.run.trainable.check_path(path, weights_only=self.save_weights_only)
        fs.writable_file(self._filename.certain())

    def writes(self) -> Iterable[Path]:
        """Return the path, placeholders and all."""
        return (Path(self.filepath),)

    def artifacts(self) -> Iterable[Path]:
        """Return the checkpoint that is the best, or the newest where none is."""
        found = Path(self._saved_to) if self._saved_to else None
        if self._folder is not None and self._saved_to:
            found = self._folder.chosen(self.run)
        return () if found is None else (found,)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Take note of the epochs done so far, as a run may begin with a later one."""
        if self._every.unit == "epoch":
            self._every.due(epoch=epoch)
        if self._folder is not None:
            self._folder.due(epoch=epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if saving goes by epochs and one is due."""
        due = self._every.unit == "epoch" and self._every.due(epoch=epoch + 1)
        if self._folder is not None:
            due = self._folder.due(epoch=epoch + 1) or due
        if due:
            self._save(None, logs or {})

    def close(self) -> None:
        """Return when what is being written is on the disk."""
        if self._folder is not None:
            self._folder.close(self._run)

    def on_exception(self, error: BaseException) -> None:
        """Save, if asked to, what there is."""
        if not self.run.progress.step:  # an untrained model would take the place of a trained one
            return
        wanted = self._folder is not None and self.save_on_exception and not self._interrupted
        if self._folder is not None and wanted and not self._is_refused(self.filepath):
            self._folder.save_now(self.run, {})
            self.run.decide(self, "saved", f"{error!r}: saved to {self.filepath}")

    def _save_at_interruption(self, reason: str) -> None:
        if self._folder is not None:
            self._interrupted = True
            if not self._is_refused(self.filepath):
                self._folder.save(self.run, {})
                self.run.decide(self, "saving", f"{reason}: saving to {self.filepath}")

    def _save_by_batches(self, batch: int, logs: Logs | None = None) -> None:
        step = self.run.progress.step
        due = self._every.unit != "epoch" and self._every.due(step=step)
        if self._folder is not None:
            due = self._folder.due(step=step) or due
        if due:
            self._save(batch, logs or {})

    def _save(self, batch: int | None, logs: Mapping[str, Any]) -> None:
        number = self.run.progress.epoch + 1
        reason = self._reason(logs) if self.save_best_only else "due"
        if not reason:
            return
        path = self.filepath
        if self._folder is None:
            number_of_batch = None if batch is None else batch + 1
            path = self._filename.fill(epoch=number, batch=number_of_batch, logs=logs)
        elif batch is None and self._folder.retention.save_top_k:
            self.monitored(logs)  # a metric that cannot come up is an error
        if self._is_refused(path):
            return
        before = self.best
        if self.save_best_only:
            self._watched.update(logs[self.monitor])
        what = "" if reason == "due" else f"{reason}, "
        say = f"Epoch {number}: {what}saving model to {path}" if self.verbose else ""
        if self._folder is not None:  # taken when all callbacks have had their hook
            metrics = {name: value for name, value in logs.items() if isinstance(value, float)}
            self.run.decide(self, "saving", f"{what}saving to {path}", say=say)
            self.run.at_boundary(functools.partial(self._folder.save, self.run, metrics))
            self._saved_to = path
            return
        try:
            if not self.run.trainable.rank:  # all processes decide alike, the first one writes
                self.run.trainable.save(Path(path), weights_only=self.save_weights_only)
        except BaseException:
            self.best = before
            raise
        self._saved_to = path
        self.run.decide(self, "saved", f"{what}saved to {path}", say=say)

    def _reason(self, logs: Mapping[str, Any]) -> str:
        """Return why this is the best model so far, or nothing if it is not."""
        value = self.monitored(logs)
        best = "None" if self.best is None else f"{self.best:.5f}"
        if value is None:
            cause = f"{self.monitor} was not measured, so the model is not saved"
            self.run.decide(self, "skipped", cause)
            return ""
        if self._watched.improves(value, self.best):
            return f"{self.monitor} improved from {best} to {value:.5f}"
        cause = f"{self.monitor} did not improve from {best}"
        say = f"Epoch {self.run.progress.epoch + 1}: {cause}" if self.verbose else ""
        self.run.decide(self, "skipped", cause, say=say)
        return ""

    def _is_refused(self, path: str) -> bool:
        """Say whether the model has numbers that no one wants in the place of a good one."""
        bad = self.run.trainable.nonfinite()
        if bad:
            cause = f"{bad!r} holds NaN or infinities, so the model is not saved to {path}"
            self.run.decide(self, "skipped", cause)
            warnings.warn(f"ModelCheckpoint: {cause}", RuntimeWarning, stacklevel=2)
        return bool(bad)

    def reset(self) -> None:
        """Count batches and epochs anew; the best value stays, as the file it belongs to does."""
        self._every = save_period(self.save_freq)
        self._interrupted = False
        self._saved_to = ""
        if self._folder is not None:
            self._folder.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, and when was last saved."""
        state = {**super().state_dict(), "every": self._every.state_dict(), "to": self._saved_to}
        return state if self._folder is None else {**state, "folder": self._folder.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        self._every.load_state_dict(state["every"])
        self._saved_to = state.get("to", "")
        if self._folder is not None and "folder" in state:
            self._folder.load_state_dict(state["folder"])


def save_period(save_freq: int | str) -> Every:
    """Return the period that ``save_freq`` means.

    Raises:
        ConfigurationError: If it means none.
    """
    number = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0
    if not number and not isinstance(save_freq, str):
        raise ConfigurationError(
            "save_freq must be 'epoch', a number of batches or a period such as '10 min'; "
            f"got {save_freq!r}"
        )
    return Every(save_freq if isinstance(save_freq, str) else f"{save_freq} steps")
