"""Write metrics and histograms for TensorBoard."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from callboard._core import fs
from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError, UnsupportedError
from callboard._core.logs import plain
from callboard.callbacks.histograms import floats
from callboard.callbacks.update_freq import batches_between
from callboard.callbacks.weight_image import weight_image
from callboard.events import EventWriter

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write what TensorBoard shows: metrics as curves, weights and activations as histograms.

    Neither TensorFlow nor the tensorboard package is needed to write. To look at it:
    ``pip install tensorboard``, then ``tensorboard --logdir logs``.

    ==============  =====================================  ===============================
    folder          tag                                    step
    ==============  =====================================  ===============================
    ``train``       ``epoch_<metric>``                     epoch, from 0
    ``train``       ``epoch_learning_rate``                epoch; if there is an optimizer
    ``train``       ``epoch_steps_per_second``             epoch
    ``train``       ``batch_<metric>``                     training step, from 1
    ``train``       ``batch_steps_per_second``             training step, from 1
    ``train``       ``<weight>/histogram``                 epoch
    ``train``       ``<weight>/image``                     epoch
    ``train``       ``<weight>/gradients/histogram``       epoch
    ``train``       ``<layer>/activations/histogram``      epoch
    ``validation``  ``epoch_<metric>``                     epoch; for ``val_<metric>``
    ``validation``  ``evaluation_<metric>_vs_iterations``  training steps done
    ==============  =====================================  ===============================

    Every run adds files of its own; what it writes for a step takes the place of what an earlier
    run has there. All data of an epoch is in the files when the epoch has ended.

    Args:
        log_dir: Folder for the event files; made when the first one is written.
        histogram_freq: Epochs between two histograms of the weights, and of what the layers give
            out for the first batch of the latest validation (of the training, without one); the
            first epoch has them. 0 for none.
        write_images: With the histograms, write the weights as images too. One pixel is one number:
            middle gray is 0, white the largest magnitude; NaN is black. The kernels of a
            convolution are the cells of a table, between black lines.
        write_steps_per_second: Write the batches trained per second, validation included in the
            time of an epoch, and with an ``update_freq`` since the latest batch that was written.
        update_freq: "epoch", or also write the metrics of batches, which are the means of the epoch
            so far: "batch" for each batch, or every so many, counted over the epochs.
        activations: Whether the histograms include the activations.
        gradients: Whether they include the gradients that the weights have when the epoch ends.

    Raises:
        ConfigurationError: For a frequency that is none, and for images or gradients without
            ``histogram_freq``.
        UnsupportedError: For histograms in a run without a model.
        OSError: If the folder or a file in it cannot be written.

    Example:
        >>> import tempfile
        >>> from callboard.testing import ScriptedRun
        >>> folder = tempfile.mkdtemp()
        >>> _ = ScriptedRun([0.5, 0.25], monitor="val_loss").play(TensorBoard(folder))
        >>> sorted(path.name for path in Path(folder).iterdir())
        ['train', 'validation']

    Source: Keras 3.15 ``TensorBoard``, whose ``update_freq`` loses data of epochs; activations as
        the documentation of tf.keras says (docs/differences.md).
    """

    order: ClassVar[int] = 10
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        *,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: int | str = "epoch",
        activations: bool = True,
        gradients: bool = False,
    ) -> None:
        if not _is_whole(histogram_freq) or histogram_freq < 0:
            raise ConfigurationError(
                f"histogram_freq must be a number of epochs, 0 or more; got {histogram_freq!r}"
            )
        for name, wanted in (("write_images", write_images), ("gradients", gradients)):
            if wanted and not histogram_freq:
                raise ConfigurationError(
                    f"{name}=True goes by histogram_freq, which is 0; pass histogram_freq=1 or more"
                )
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = update_freq
        self.activations = activations
        self.gradients = gradients
        self.looks_at_data = activations and bool(histogram_freq)
        self._folder = Path(log_dir)
        self._writers: dict[str, EventWriter] = {}
        self._began_at: tuple[int, int] | None = None  # epoch and step
        self._period = batches_between(update_freq)
        self._next_step = 0
        self._epoch_speed, self._batch_speed = _Speed(), _Speed()
        self._skipped: set[str] = set()
        self._name = ""  # tells the files of this run from those of others in the folder
        self._written: dict[str, dict[str, int]] = {}
        self.reset()
        if self._period:
            # Set here, not defined in the class: so that epochs alone cost nothing per batch.
            self.on_train_batch_end = self._write_batch  # type: ignore[method-assign] # as said

    def reset(self) -> None:
        """Begin a run of its own."""
        self._name = os.urandom(4).hex()
        self._written = {"train": {}, "validation": {}}

    def check(self) -> None:
        """Check that the folder can be written and that there are weights to look at."""
        for part in ("train", "validation"):
            fs.writable_file(self._folder / part / "events.out.tfevents")
        if self.histogram_freq and self.run.purpose == "train":
            _ = self.run.trainable.weights  # a run without a model has none, and says so

    def writes(self) -> Iterable[Path]:
        """Return the folder."""
        return (self._folder,)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note where the run began, and begin to measure the epoch."""
        step = self.run.progress.step
        if self._began_at is None:
            self._began_at = (epoch, step)
            self._next_step = self._due_after(step)
        self._epoch_speed.begin(step)
        self._batch_speed.begin(step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's metrics and histograms."""
        numbers = _numbers(logs)
        validation = {f"epoch_{n[4:]}": v for n, v in numbers.items() if n.startswith("val_")}
        train = {f"epoch_{n}": v for n, v in numbers.items() if not n.startswith("val_")}
        if "learning_rate" not in numbers:  # there, it is the one that this epoch had
            with contextlib.suppress(UnsupportedError):  # no model, or no optimizer
                train["epoch_learning_rate"] = self.run.learning_rate
        if self.write_steps_per_second:
            speed = self._epoch_speed.until(self.run.progress.step)
            train["epoch_steps_per_second"] = speed
        self._writer("train").scalars(train, epoch)
        if validation:
            self._writer("validation").scalars(validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_model(epoch)
        for writer in self._writers.values():
            writer.flush()

    def settle(self) -> None:
        """Make what is written durable, and note how much of each file that is."""
        for part, writer in self._writers.items():
            writer.sync()
            if writer.path is not None:
                self._written[part][writer.path.name] = writer.offset

    def state_dict(self) -> dict[str, Any]:
        """Return the files that belong to the run and how much of each is written."""
        return {
            "name": self._name,
            "written": {part: dict(files) for part, files in self._written.items()},
            "next_step": self._next_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in new files; what was written after the state was taken is removed."""
        super().load_state_dict(state)
        self._name = state["name"]
        self._written = {part: dict(files) for part, files in state["written"].items()}
        self._next_step = state["next_step"]
        if self._run is None:
            return
        run = self._run
        self._began_at = (
            run.progress.epoch if run.in_epoch else run.next_epoch,
            run.progress.step + 1,
        )
        self._epoch_speed.begin(run.progress.step)
        self._batch_speed.begin(run.progress.step)
        if not run.trainable.rank:
            for part, files in self._written.items():
                _cut_back(self._folder / part, f".{self._name}", files)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write the metrics of an evaluation over the training steps done by then."""
        numbers = _numbers(logs)
        if numbers:
            values = {f"evaluation_{n}_vs_iterations": v for n, v in numbers.items()}
            self._writer("validation").scalars(values, self._steps_done())

    def close(self) -> None:
        """Sync and close the files; the next run writes new ones."""
        writers, self._writers = self._writers, {}
        self._began_at = None
        self._skipped.clear()
        with contextlib.ExitStack() as closing:
            for writer in writers.values():
                closing.enter_context(writer)
            for writer in writers.values():
                writer.sync()

    def _write_batch(self, batch: int, logs: Logs | None = None) -> None:
        step = self.run.progress.step
        if step < self._next_step:
            return
        self._next_step = self._due_after(step)
        values = {f"batch_{name}": value for name, value in _numbers(logs).items()}
        if self.write_steps_per_second:
            values["batch_steps_per_second"] = self._batch_speed.until(step)
            self._batch_speed.begin(step)
        if values:
            self._writer("train").scalars(values, step)

    def _due_after(self, step: int) -> int:
        """Return the next step to write; an execution of several batches may pass it by."""
        return (step // self._period + 1) * self._period if self._period else 0

    def _write_model(self, epoch: int) -> None:
        writer, trainable = self._writer("train"), self.run.trainable
        for name, array in floats(trainable.weights()):
            writer.histogram(f"{name}/histogram", array, epoch)
            image = weight_image(array) if self.write_images else None
            if image is not None:
                png, width, height = image
                writer.image(f"{name}/image", png, epoch, width=width, height=height)
        if self.activations:
            for layer, array in floats(self._activations()):
                writer.histogram(f"{layer}/activations/histogram", array, epoch)
        if self.gradients:
            for name, array in floats(self._gradients()):
                writer.histogram(f"{name}/gradients/histogram", array, epoch)

    def _activations(self) -> Mapping[str, Any]:
        """Return what each layer gives out, or nothing if the model cannot be run on a batch."""
        samples = self.run.samples
        batch = samples.get("test", samples.get("train"))
        try:
            return self.run.trainable.activations(batch)
        except UnsupportedError as error:
            self._skip("activations", str(error))
        except Exception as error:  # noqa: BLE001 - histograms are not worth the training
            cause = (
                f"the model cannot be run on the first part of a batch ({error!r}); let the loader "
                "give (inputs, ...), or pass activations=False"
            )
            self._skip("activations", cause)
        return {}

    def _gradients(self) -> Mapping[str, Any]:
        try:
            gradients = self.run.trainable.gradients()
        except UnsupportedError as error:
            self._skip("gradients", str(error))
            return {}
        if not gradients:
            cause = (
                "no weight has one when the epoch ends; a loop of your own keeps them if it calls "
                "zero_grad() before backward(), not after the optimizer's step"
            )
            self._skip("gradients", cause)
        return gradients

    def _skip(self, what: str, cause: str) -> None:
        """Say, once in a run, what cannot be written."""
        if what not in self._skipped:
            self._skipped.add(what)
            cause = f"{what} are not written: {cause}"
            self.run.decide(self, "skipped", cause)
            warnings.warn(f"TensorBoard: {cause}", RuntimeWarning, stacklevel=2)

    def _steps_done(self) -> int:
        if self.run.purpose == "train":
            return self.run.progress.step
        # An evaluation alone has trained nothing; the model's optimizer knows what came before.
        optimizer = getattr(self.run.model, "optimizer", None)
        return int(getattr(optimizer, "iterations", 0))

    def _writer(self, part: str) -> EventWriter:
        if part not in self._writers:
            start = self._start(part)
            self._writers[part] = EventWriter(
                self._folder / part, start_step=start, suffix=f".{self._name}"
            )
        return self._writers[part]

    def _start(self, part: str) -> int:
        """Return the step from which on this run replaces what is in the folder."""
        if self._began_at is None:
            return self._steps_done()
        epoch, step = self._began_at
        # Where steps and epochs share a folder, the larger one: too much is better than a loss.
        return epoch if part == "train" and not self._period else max(epoch, step)


def _cut_back(folder: Path, suffix: str, sizes: Mapping[str, int]) -> None:
    """Leave of a run's files what had been written by then.

    TensorBoard drops what a later file replaces by its steps, and epochs and training steps are
    counted differently in one folder; so what is to be replaced is removed. Nothing is ever written
    behind a cut, so a server that reads the file just finds its end.
    """
    for path in folder.glob(f"events.out.tfevents.*{suffix}"):
        size = sizes.get(path.name)
        if size is None:
            fs.remove(path)
        elif path.stat().st_size > size:
            fs.cut_back(path, size)


class _Speed:
    """Training steps per second."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, step: int) -> None:
        """Begin to measure at a step."""
        self._step = step
        self._time_s = time.perf_counter()

    def until(self, step: int) -> float:
        """Return the steps per second since the beginning."""
        return (step - self._step) / max(time.perf_counter() - self._time_s, 1e-9)


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the metrics that are one number; a callback may add texts and arrays too."""
    read = {name: plain(value) for name, value in (logs or {}).items()}
    return {name: value for name, value in read.items() if isinstance(value, float)}


def _is_whole(value: object) -> TypeGuard[Integral]:
    return isinstance(value, Integral) and not isinstance(value, bool)
