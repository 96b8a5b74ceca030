"""Save the model with Orbax."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core import fs
from callboard._core.monitor import check_threshold
from callboard._core.trainable import check_state, trainable_of
from callboard.callbacks.arguments import flag, path, verbosity, whole
from callboard.callbacks.model_checkpoint import save_period
from callboard.callbacks.monitor_callback import MonitorCallback
from callboard.callbacks.orbax_store import OrbaxStore

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["OrbaxCheckpoint"]


class OrbaxCheckpoint(MonitorCallback):
    """Save weights and optimizer with Orbax, at the end of epochs or every so many batches.

    Needs ``pip install orbax-checkpoint``. For those whose other tools read Orbax; checkpoints of
    a whole run, verified, are what :class:`ModelCheckpoint` writes into a folder.

    A checkpoint has the number of its epoch, from 0, or of its batch, counted over the epochs. If
    the directory has that number or a higher one already, as when a program is started again, it
    gets the next one that is free. A model that holds NaN or infinities is not saved.

    Args:
        directory: Folder of the checkpoints.
        monitor: Name of the metric that ``save_best_only`` goes by.
        verbose: 1 prints what is saved.
        save_best_only: Save only when the metric is better than ever before, checkpoints that are
            in the directory included.
        mode: "min" if lower is better, "max" if higher is, "auto" to know it from the metric.
        save_freq: "epoch", a number of batches (counted over the epochs), or a period such as
            "500 steps", "2 epochs", "10 min".
        initial_value_threshold: With ``save_best_only``, the value that has to be beaten first.
        max_to_keep: How many of the newest checkpoints are kept; None for all.
        save_on_background: Write while training goes on. The end of training waits for it.
        save_weights_only: Leave the optimizer out.

    Attributes:
        best: The best value so far.

    Raises:
        UnsupportedError: Without Orbax, in a run without a model, and where several processes of
            JAX train together.
        MetricNotFoundError: If the metric cannot come up, as early as that shows.
        ConfigurationError: For impossible arguments.
        OSError: If a checkpoint cannot be written; with ``save_on_background``, at the next one or
            at the end.

    Example:
        >>> import tempfile, torch
        >>> from callboard.torch import Model
        >>> folder = tempfile.mkdtemp()
        >>> model = Model(torch.nn.Linear(2, 1))
        >>> model.compile("adam", loss="mse")
        >>> x, y = torch.ones(4, 2), torch.ones(4, 1)
        >>> saves = OrbaxCheckpoint(folder, max_to_keep=2)
        >>> _ = model.fit(x, y, epochs=3, callbacks=[saves], verbose=0)
        >>> OrbaxCheckpoint.load(folder, model)
        2

        The same with Orbax alone::

            from orbax.checkpoint import v1 as ocp
            ocp.load(f"{folder}/2")["weights"]

    Source: Keras 3.15 ``OrbaxCheckpoint``, which loses errors of the background and fails in a
        directory that has checkpoints.
    """

    order: ClassVar[int] = 0
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        directory: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
        max_to_keep: int | None = 1,
        save_on_background: bool = True,
        save_weights_only: bool = False,
    ) -> None:
        check_threshold(initial_value_threshold, "initial_value_threshold")
        super().__init__(monitor, mode, baseline=initial_value_threshold)
        self.directory = path(directory, "directory")
        self.verbose = verbosity(verbose)
        self.save_best_only = flag(save_best_only, "save_best_only")
        self.save_freq = save_freq
        if max_to_keep is not None:
            whole(max_to_keep, "max_to_keep", least=1)
        self.max_to_keep = max_to_keep
        self.save_on_background = flag(save_on_background, "save_on_background")
        self.save_weights_only = flag(save_weights_only, "save_weights_only")
        self._every = save_period(save_freq)
        self._store = OrbaxStore(self.directory, max_to_keep)
        if self._every.unit != "epoch":
            # Set here, not defined in the class: so that saving by epochs costs nothing per batch.
            self.on_train_batch_end = self._save_by_batches  # type: ignore[method-assign] # as said

    @staticmethod
    def load(
        directory: str | os.PathLike[str],
        model: object,
        optimizer: object = None,
        *,
        step: int | None = None,
        weights_only: bool = False,
    ) -> int:
        """Load a checkpoint into a model and its optimizer.

        Args:
            directory: Folder of the checkpoints.
            model: A ``Model``, a torch module, a Keras model.
            optimizer: The optimizer of a module that is no ``Model``.
            step: Number of the checkpoint; the newest by default.
            weights_only: Leave the optimizer as it is.

        Returns:
            The checkpoint's number.

        Raises:
            NoCheckpointError: If there is none, or not that one.
            DataError: If it is that of another model or optimizer.
        """
        loaded = OrbaxStore(path(directory, "directory"), None).load(step)
        trainable = trainable_of(model, optimizer)
        state = loaded.state(of_framework=False)
        if weights_only or "optimizer" not in state:
            trainable.set_weights({**state["weights"], **state["frozen"]})
        else:
            trainable.load_state_dict(loaded.state(of_framework=True))
        return loaded.step

    def check(self) -> None:
        """Check the metric, that there is a model, and that the folder can be written."""
        if self.save_best_only:
            super().check()
        _ = self.run.trainable.weights  # a run without a model has none, and says so
        check_state(self.run.trainable)
        fs.writable_file(Path(self.directory) / "checkpoint")
        if self.run.trainable.rank:
            return
        self._store.open()
        if self.save_best_only:
            for value in self._store.metrics(self.monitor):
                self._watched.update(value)

    def writes(self) -> Iterable[Path]:
        """Return the folder."""
        return (Path(self.directory),)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Take note of the epochs done so far, as a run may begin with a later one."""
        if self._every.unit == "epoch":
            self._every.due(epoch=epoch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save, if saving goes by epochs and one is due."""
        if self._every.unit == "epoch" and self._every.due(epoch=epoch + 1):
            self._save(epoch, logs or {})

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Return when everything is written."""
        self.wait_until_finished()

    def close(self) -> None:
        """Let go of the folder."""
        self._store.close()

    def wait_until_finished(self) -> None:
        """Return when what is being written is on the disk."""
        self._store.wait()

    def is_multihost_enabled(self) -> bool:
        """Say whether several processes write together; they do not."""
        return False

    def is_primary_host(self) -> bool:
        """Say whether this process writes: the first one does."""
        return self._run is None or not self._run.trainable.rank

    def _save_by_batches(self, batch: int, logs: Logs | None = None) -> None:
        if self._every.due(step=self.run.progress.step):
            self._save(self.run.progress.step, logs or {})

    def _save(self, number: int, logs: Mapping[str, Any]) -> None:
        value = self.monitored(logs) if self.save_best_only else None
        if self.save_best_only and (value is None or not self._watched.improves(value, self.best)):
            cause = "was not measured" if value is None else "did not improve"
            self.run.decide(self, "skipped", f"{self.monitor} {cause}")
            return
        bad = self.run.trainable.nonfinite()
        if bad:
            self.run.decide(self, "skipped", f"{bad!r} holds NaN or infinities")
            return
        if self.run.trainable.rank:  # all processes decide alike, the first one writes
            return
        state = self.run.trainable.state_dict()
        if self.save_weights_only:
            state = {name: state[name] for name in ("weights", "frozen")}
        metrics = {name: value for name, value in logs.items() if isinstance(value, float)}
        step = self._store.save(number, state, metrics, waits=not self.save_on_background)
        if value is not None:
            self._watched.update(value)
        what = f"saving checkpoint {step} to {self.directory}"
        say = f"Epoch {self.run.progress.epoch + 1}: {what}" if self.verbose else ""
        self.run.decide(self, "saved", what, say=say)

    def reset(self) -> None:
        """Count batches and epochs anew; the best value stays, as the checkpoint it belongs to."""
        self._every = save_period(self.save_freq)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, and when was last saved."""
        return {**super().state_dict(), "every": self._every.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        self._every.load_state_dict(state["every"])
