"""Write metrics and histograms for TensorBoard."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from callboard._core import fs
from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError
from callboard._core.every import Every
from callboard.events import EventWriter

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write what TensorBoard shows: metrics as curves, weights and activations as histograms.

    Neither TensorFlow nor the tensorboard package is needed to write. To look at it:
    ``pip install tensorboard``, then ``tensorboard --logdir logs``.

    ==================  ================================  ==========================================
    folder              tag                               step
    ==================  ================================  ==========================================
    ``train``           ``epoch_<metric>``                epoch, from 0
    ``train``           ``epoch_learning_rate``           epoch; if there is an optimizer
    ``train``           ``batch_<metric>``                training step, from 1
    ``train``           ``epoch_steps_per_second``        epoch
    ``train``           ``batch_steps_per_second``        training step
    ``train``           ``<weight>/histogram``            epoch
    ``train``           ``<layer>/activations/histogram``  epoch
    ``validation``      ``epoch_<metric>``                epoch
    ``validation``      ``evaluation_<metric>_vs_iterations``  training step
    ==================  ================================  ==========================================

    Args:
        log_dir: Folder for the event files; made when the first one is written.
        histogram_freq: Epochs between two histograms of the weights, and of what the layers give
            out for the first batch of the latest validation (or of the training, without one);
            0 for none.
        write_steps_per_second: Write the speed of the training too.
        update_freq: "epoch", or also write metrics of batches: "batch" for each, or every so many.
            They are the means of the epoch so far. Data of epochs is always written.

    Raises:
        ConfigurationError: For a frequency that is not one.
        UnsupportedError: For histograms in a run without a model.
        OSError: If the folder or a file in it cannot be written.

    Example:
        >>> import tempfile
        >>> from callboard.testing import ScriptedRun
        >>> folder = tempfile.mkdtemp()
        >>> run = ScriptedRun({"loss": [0.6, 0.4], "val_loss": [0.5, 0.25]})
        >>> _ = run.play(TensorBoard(folder))
        >>> sorted(path.name for path in Path(folder).iterdir())
        ['train', 'validation']

    Source: Keras 3.15 ``TensorBoard``; activations as the documentation of tf.keras says.
    """

    order: ClassVar[int] = 10
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        *,
        write_steps_per_second: bool = False,
        update_freq: int | str = "epoch",
    ) -> None:
        if not _is_whole(histogram_freq) or histogram_freq < 0:
            raise ConfigurationError(
                f"histogram_freq must be a number of epochs, 0 or more; got {histogram_freq!r}"
            )
        if update_freq not in ("epoch", "batch") and (
            not isinstance(update_freq, int) or not _is_whole(update_freq) or update_freq < 1
        ):
            raise ConfigurationError(
                "update_freq must be 'epoch', 'batch' or a number of batches, 1 or more; "
                f"got {update_freq!r}"
            )
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = update_freq
        self._path = Path(log_dir)
        self._writers: dict[str, EventWriter] = {}
        self._every: Every | None = None
        if update_freq != "epoch":
            self._every = self._batches_due()
            # Set here, not defined in the class: so that epochs alone cost nothing per batch.
            self.on_train_batch_end = self._write_batch  # type: ignore[method-assign] # as said
        self._epoch_began_s = self._batch_ended_s = 0.0
        self._batch_ended_step = 0

    def check(self) -> None:
        """Check that the folder can be written and that there are weights for histograms."""
        fs.writable_file(self._path / "train" / "events")
        if self.histogram_freq:
            _ = self.run.trainable.weights

    def writes(self) -> Iterable[Path]:
        """Return the folder."""
        return (self._path,)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin to measure the epoch."""
        self._epoch_began_s = self._batch_ended_s = time.perf_counter()
        self._batch_ended_step = self.run.progress.step

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's metrics and histograms."""
        numbers = {name: value for name, value in (logs or {}).items() if isinstance(value, float)}
        validation = {
            f"epoch_{name[4:]}": value for name, value in numbers.items() if name[:4] == "val_"
        }
        train = {f"epoch_{name}": value for name, value in numbers.items() if name[:4] != "val_"}
        rate = self._learning_rate()
        if rate is not None:
            train.setdefault("epoch_learning_rate", rate)
        if self.write_steps_per_second:
            seconds = time.perf_counter() - self._epoch_began_s
            train["epoch_steps_per_second"] = self.run.progress.batch / max(seconds, 1e-9)
        self._writer("train").scalars(train, epoch)
        if validation:
            self._writer("validation").scalars(validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_histograms(epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write the metrics of an evaluation over the training steps done by then."""
        step = self._iterations()
        named = {
            f"evaluation_{name}_vs_iterations": value
            for name, value in (logs or {}).items()
            if isinstance(value, float)
        }
        if named:
            self._writer("validation").scalars(named, step)

    def close(self) -> None:
        """Sync and close the files."""
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            writer.sync()
            writer.close()

    def reset(self) -> None:
        """Count the batches of the new run from its beginning."""
        if self._every is not None:
            self._every = self._batches_due()

    def state_dict(self) -> dict[str, Any]:
        """Return which batches were written."""
        return {"every": None if self._every is None else self._every.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``, in new files."""
        super().load_state_dict(state)
        if self._every is not None and state["every"] is not None:
            self._every.load_state_dict(state["every"])

    def _batches_due(self) -> Every:
        return Every("1 step" if self.update_freq == "batch" else f"{self.update_freq} steps")

    def _write_batch(self, batch: int, logs: Logs | None = None) -> None:
        step = self.run.progress.step
        if self._every is None or not self._every.due(step=step):
            return
        values = {
            f"batch_{name}": value
            for name, value in (logs or {}).items()
            if isinstance(value, float)
        }
        if self.write_steps_per_second:
            now = time.perf_counter()
            seconds, steps = now - self._batch_ended_s, step - self._batch_ended_step
            values["batch_steps_per_second"] = steps / max(seconds, 1e-9)
            self._batch_ended_s, self._batch_ended_step = now, step
        self._writer("train").scalars(values, step)

    def _write_histograms(self, epoch: int) -> None:
        writer, trainable = self._writer("train"), self.run.trainable
        for name, array in trainable.weights().items():
            if _is_floating(array):
                writer.histogram(f"{name}/histogram", _as_floats(array), epoch)
        samples = self.run.samples.get("test", self.run.samples.get("train"))
        if samples is not None:
            for name, array in trainable.activations(samples).items():
                writer.histogram(f"{name}/activations/histogram", _as_floats(array), epoch)

    def _learning_rate(self) -> float | None:
        has_optimizer = getattr(self.run.model, "optimizer", None) is not None
        return self.run.learning_rate if has_optimizer else None

    def _iterations(self) -> int:
        if self.run.purpose == "train":
            return self.run.progress.step
        optimizer = getattr(self.run.model, "optimizer", None)
        return int(getattr(optimizer, "iterations", 0))

    def _writer(self, part: str) -> EventWriter:
        if part not in self._writers:
            step = self.run.progress.step
            self._writers[part] = EventWriter(self._path / part, start_step=step)
        return self._writers[part]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_floating(array: np.ndarray[Any, Any]) -> bool:
    return bool(array.size) and (array.dtype.kind == "f" or array.dtype.names is not None)


def _as_floats(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array as NumPy can compute with it: bfloat16 is the upper half of a float32."""
    if array.dtype.names == ("bfloat16",):
        return (array.view("<u2").astype("<u4") << 16).view("<f4")
    return array
