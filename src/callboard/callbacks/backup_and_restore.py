"""Go on with a training that was interrupted, as if it had not been."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core import fs
from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError, DataError, NoCheckpointError
from callboard._core.every import Every
from callboard._core.frameworks import revived
from callboard._core.trainable import check_state
from callboard.callbacks.arguments import flag, path
from callboard.checkpoint import CheckpointStore, last
from callboard.checkpoint.saver import Saver

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["BackupAndRestore"]


class BackupAndRestore(Callback):
    """Save the whole run regularly; when the same program is started again, go on from there.

    The run that goes on is the one that was interrupted, bit for bit: weights, optimizer and
    learning rate, random states, the order and position of the data, metrics, the state of every
    callback, the history, and the log files, which are cut back to the moment of the backup. It may
    have been interrupted at any time and in any way: by an error, Ctrl-C, a signal, the end of a
    cluster's job, ``kill -9`` or a power cut. A backup is whole and verified, or not there.

    Training waits for one copy of the state in memory; it is written in the background. When a
    signal (SIGTERM, SIGINT, SIGUSR1) or the end of the time ends the run, one more backup is made
    at the next step.

    Args:
        backup_dir: A folder of its own for the backups.
        save_freq: "epoch", a number of batches (counted over the epochs), or a period such as
            "500 steps", "2 epochs", "10 min"; False to save only when the run is interrupted.
        double_checkpoint: Keep the last two, so that there is one more if the newest is damaged
            on the disk later.
        delete_checkpoint: Remove the backups when training has ended by itself or by request, so
            that the next ``fit`` begins with epoch 0. If False, a run that has ended stays ended.
        when_busy: What to do if the backup before is still being written: "wait" for it, or "skip"
            this one.

    Raises:
        ConfigurationError: For an impossible ``save_freq`` or ``when_busy``.
        DataError: If the backup is of another model, optimizer or data, or of no run.
        DamagedCheckpointError: If all backups are damaged; they are left as they are.
        OSError: If a backup cannot be written; the one before is still there.

    Example:
        >>> import tempfile
        >>> from callboard import Run
        >>> folder = tempfile.mkdtemp() + "/backup"
        >>> def train(until):
        ...     backup = BackupAndRestore(folder, save_freq=1)
        ...     with Run(epochs=2, callbacks=[backup], verbose=0) as run:
        ...         for epoch in run.epochs():
        ...             for x in run.train([1.0, 2.0, 6.0]):
        ...                 if run.progress.step == until:
        ...                     raise RuntimeError("interrupted")
        ...                 run.log(loss=x)
        ...     return run.history.history
        >>> train(until=4)
        Traceback (most recent call last):
        RuntimeError: interrupted
        >>> train(until=None)
        {'loss': [3.0, 3.0]}

    Source: Keras 3.15 ``BackupAndRestore``, which restores weights and the epoch.
    """

    order: ClassVar[int] = 1000
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: int | str | bool = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
        *,
        when_busy: str = "wait",
    ) -> None:
        if when_busy not in ("wait", "skip"):
            raise ConfigurationError(f"when_busy must be 'wait' or 'skip'; got {when_busy!r}")
        self.backup_dir = path(backup_dir, "backup_dir")
        self.save_freq = save_freq
        self.double_checkpoint = flag(double_checkpoint, "double_checkpoint")
        self.delete_checkpoint = flag(delete_checkpoint, "delete_checkpoint")
        self.when_busy = when_busy
        self._store = CheckpointStore(backup_dir, keep=[last(2 if double_checkpoint else 1)])
        self._every = _period(save_freq)
        if self._every is not None and self._every.unit != "epoch":
            # Set here, not defined in the class: so that saving by epochs costs nothing per batch.
            self.on_train_batch_end = self._save_by_batches  # type: ignore[method-assign] # as said

    def __repr__(self) -> str:
        return f"BackupAndRestore({self.backup_dir!r})"

    def check(self) -> None:
        """Check that the state can be saved, and that no other process writes to the folder."""
        check_state(self.run.trainable)
        fs.writable_file(Path(self.backup_dir) / "manifest.json")
        if not self.run.trainable.rank:
            self._store.require_free()

    def writes(self) -> Iterable[Path]:
        """Return the folder."""
        return (Path(self.backup_dir),)

    def saved_run(self) -> Mapping[str, Any] | None:
        """Return the state of the newest backup that is whole, or None if there is none."""
        try:
            checkpoint, state = self._store.load_newest(revived=revived)
        except NoCheckpointError:
            return None
        if not isinstance(state, dict) or "run" not in state:
            raise DataError(
                f"{self._store.path(checkpoint)} is no state of a run that could be gone on with; "
                "give BackupAndRestore a folder of its own"
            )
        return state

    def resumed(self) -> None:
        """Say where the run goes on, or that it had ended."""
        run = self.run
        at = f"epoch {run.progress.epoch + 1}, after step {run.progress.step}"
        if run.stop_reason:
            cause = f"the run had stopped in {at}: {run.stop_reason}; it stays stopped"
        elif run.is_done:
            cause = f"the run had ended with epoch {run.progress.epoch + 1} of {run.epoch_count}"
        else:
            cause = f"the run goes on in {at}"
        if not cause.startswith("the run goes on"):
            cause += f"; to begin anew, remove {self.backup_dir!r}"
        run.decide(self, "resumed", cause, say=f"BackupAndRestore: {cause}" if run.verbose else "")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Have memory for the first save ready after the first step."""
        if not self.run.trainable.rank:
            self.run.at_boundary(lambda: Saver.of(self.run).prepare())

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if saving goes by epochs and one is due."""
        every = self._every
        if every is not None and every.unit == "epoch" and every.due(epoch=epoch + 1):
            self.run.at_boundary(self._save)

    def on_interrupt(self, reason: str) -> None:
        """Save before the run ends."""
        self._save(waits=True)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Remove the backups: the training is over."""
        if self.run.paused or self.run.trainable.rank:
            return
        Saver.of(self.run).wait()
        if self.delete_checkpoint:
            self._store.clear()

    def close(self) -> None:
        """Return when what is being written is on the disk."""
        if self._run is not None and self._run.saver is not None:
            Saver.of(self._run).close()
        self._store.close()

    def reset(self) -> None:
        """Count batches and epochs anew."""
        self._every = _period(self.save_freq)

    def state_dict(self) -> dict[str, Any]:
        """Return when was last saved."""
        return {} if self._every is None else {"every": self._every.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        if self._every is not None and "every" in state:
            self._every.load_state_dict(state["every"])

    def _save_by_batches(self, batch: int, logs: Logs | None = None) -> None:
        every = self._every
        if every is not None and every.due(step=self.run.progress.step):
            self.run.at_boundary(self._save)

    def _save(self, *, waits: bool = False) -> None:
        run = self.run
        if run.trainable.rank:  # all processes decide alike, the first one writes
            return
        saver = Saver.of(run)
        if self.when_busy == "skip" and saver.busy and not waits:
            run.decide(self, "skipped", "the backup before is still being written")
            return
        saver.save(self._store)


def _period(save_freq: object) -> Every | None:
    if save_freq is False:
        return None
    if isinstance(save_freq, str):
        return Every(save_freq)
    if isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1:
        raise ConfigurationError(
            "save_freq must be 'epoch', a number of batches, a period such as '10 min', or False; "
            f"got {save_freq!r}"
        )
    return Every(f"{save_freq} steps")
