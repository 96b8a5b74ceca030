"""Save the model, every time or when a metric got better."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core import fs
from callboard._core.errors import ConfigurationError
from callboard._core.every import Every
from callboard.callbacks.filename import Filename
from callboard.callbacks.monitor_callback import MonitorCallback

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["ModelCheckpoint"]


class ModelCheckpoint(MonitorCallback):
    """Save the model or its weights at the end of epochs, or every so many batches.

    A file is written whole and durably or not at all: to a temporary name in the same folder,
    synced, renamed. Parent folders are made. A model that holds NaN or infinities is never
    saved, and with ``save_best_only`` neither is one that was not evaluated.

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

    Attributes:
        best: The best value so far. It is kept from one run of this object to the next, so that a
            worse model never replaces a better one.

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
    ) -> None:
        super().__init__(monitor, mode, baseline=initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._every = _period(save_freq)
        self._filename = Filename(self.filepath, batch=self._every.unit != "epoch")
        if save_best_only and self._every.unit != "epoch" and monitor.startswith("val_"):
            raise ConfigurationError(
                f"save_best_only with save_freq={save_freq!r} compares between validations, when "
                f"{monitor!r} is not known; pass monitor='loss' or save_freq='epoch'"
            )
        if self._every.unit != "epoch":
            # Set here, not defined in the class: so that saving by epochs costs nothing per batch.
            self.on_train_batch_end = self._save_by_batches  # type: ignore[method-assign] # as said

    def check(self) -> None:
        """Check the metric, the placeholders, the suffix and that the file can be written."""
        if self.save_best_only:
            super().check()
        self._filename.check(self.run.metric_names)
        path = Path(self.filepath)
        self.run.trainable.check_path(path, weights_only=self.save_weights_only)
        fs.writable_file(self._filename.certain())

    def writes(self) -> Iterable[Path]:
        """Return the path, placeholders and all."""
        return (Path(self.filepath),)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Take note of the epochs done so far, as a run may begin with a later one."""
        if self._every.unit == "epoch":
            self._every.due(epoch=epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if saving goes by epochs and one is due."""
        if self._every.unit == "epoch" and self._every.due(epoch=epoch + 1):
            self._save(None, logs or {})

    def _save_by_batches(self, batch: int, logs: Logs | None = None) -> None:
        if self._every.due(step=self.run.progress.step):
            self._save(batch, logs or {})

    def _save(self, batch: int | None, logs: Mapping[str, Any]) -> None:
        number = self.run.progress.epoch + 1
        reason = self._reason(logs) if self.save_best_only else "due"
        if not reason:
            return
        path = self._filename.fill(
            epoch=number, batch=None if batch is None else batch + 1, logs=logs
        )
        bad = self.run.trainable.nonfinite()
        if bad:
            self._refuse(f"{bad!r} holds NaN or infinities, so the model is not saved to {path}")
            return
        before = self.best
        if self.save_best_only:
            self._watched.update(logs[self.monitor])
        try:
            if not self.run.trainable.rank:  # all processes decide alike, the first one writes
                self.run.trainable.save(Path(path), weights_only=self.save_weights_only)
        except BaseException:
            self.best = before
            raise
        what = "" if reason == "due" else f"{reason}, "
        self.run.decide(
            self,
            "saved",
            f"{what}saved to {path}",
            say=f"Epoch {number}: {what}saving model to {path}" if self.verbose else "",
        )

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

    def _refuse(self, cause: str) -> None:
        self.run.decide(self, "skipped", cause)
        warnings.warn(f"ModelCheckpoint: {cause}", RuntimeWarning, stacklevel=2)

    def reset(self) -> None:
        """Count batches and epochs anew; the best value stays, as the file it belongs to does."""
        self._every = _period(self.save_freq)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, and when was last saved."""
        return {**super().state_dict(), "every": self._every.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        self._every.load_state_dict(state["every"])


def _period(save_freq: int | str) -> Every:
    number = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0
    if not number and not isinstance(save_freq, str):
        raise ConfigurationError(
            "save_freq must be 'epoch', a number of batches or a period such as '10 min'; "
            f"got {save_freq!r}"
        )
    return Every(save_freq if isinstance(save_freq, str) else f"{save_freq} steps")
