"""Write what TensorBoard shows of a training."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard

from callboard._core import fs
from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError, UnsupportedError
from callboard._core.logs import plain
from callboard.callbacks.batch_profile import BatchProfile, batches_to_profile
from callboard.callbacks.embedding_files import EmbeddingFiles
from callboard.callbacks.event_files import EventFiles
from callboard.callbacks.layer_records import LayerRecords
from callboard.callbacks.layer_selection import LayerSelection
from callboard.callbacks.run_records import RunRecords
from callboard.callbacks.step_speed import StepSpeed
from callboard.callbacks.update_freq import batches_between
from callboard.events.hparams import session_start_value
from callboard.events.layouts import Layout

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write what TensorBoard shows: curves, histograms, images, the graph, embeddings, texts.

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
    ``train``       the graph                              once
    ``train``       ``keras``, the layers of Keras models  once
    ``train``       ``program`` (text), JAX's jaxpr        once
    ``train``       ``configuration``, ``model`` (texts)   once
    ``train``       ``journal`` (text)                     epoch; if there is something new
    ``validation``  ``epoch_<metric>``                     epoch; for ``val_<metric>``
    ``validation``  ``evaluation_<metric>_vs_iterations``  training steps done
    ``.``           hyperparameters                        once
    ==============  =====================================  ===============================

    Every run adds files of its own; what it writes for a step takes the place of what an earlier
    run has there. Steps go on where the optimizer's iterations stand, so in a second ``fit`` too.
    All data of an epoch is in the files when the epoch has ended.

    Args:
        log_dir: Folder for the event files; made when the first one is written.
        histogram_freq: Epochs between two histograms of the weights, and of what the layers give
            out for the first batch of the latest validation (of the training, without one); the
            first epoch has them. 0 for none.
        write_graph: Write the operations of the model, grouped by layers, when the first epoch has
            ended; of Keras models the layers. A module of PyTorch runs once more on a batch, in
            evaluation mode and leaving no trace. Where there is no graph, the journal says why.
        write_images: With the histograms, write the weights as images too. One pixel is one number:
            middle gray is 0, white the largest magnitude; NaN is black. The kernels of a
            convolution are the cells of a table, between black lines.
        write_steps_per_second: Write the batches trained per second, validation included in the
            time of an epoch, and with an ``update_freq`` since the latest batch that was written.
        update_freq: "epoch", or also write the metrics of batches, which are the means of the epoch
            so far: "batch" for each batch, or every so many, counted over the epochs.
        profile_batch: Number of the batch to profile, counted from 1 over the epochs, or the first
            and the last of several: ``(10, 20)``, ``"10,20"``. 0 for none. A message and the
            journal say where the trace is and how it is opened.
        embeddings_freq: Epochs between two times that the vectors of all embedding layers are
            written for the projector, the newest in place of those before. 0 for none.
        embeddings_metadata: What the rows of an embedding stand for: path of a TSV file (looked for
            in the working directory, then in ``log_dir``) or a list of labels; or a dict of them by
            the layers' names.
        layers: Names or patterns of the layers and weights that histograms and images are of, such
            as ``["encoder.*", "head"]``; all by default.
        activations: Whether the histograms include the activations.
        gradients: Whether they include the gradients that the weights have when the epoch ends.
        hparams: Hyperparameters by name, for the dashboard that compares runs by them. Give each
            run a ``log_dir`` of its own, beside those of the others, and show the folder above.
        text: Whether configuration, model and journal are written as texts.
        custom_scalars: True for a dashboard with training and validation of each metric in one
            chart; or a layout of your own, ``{category: {chart: [tags]}}``.

    Raises:
        ConfigurationError: For values that cannot be, and for images or gradients without
            ``histogram_freq``.
        UnsupportedError: For histograms, embeddings or a profile in a run without a model.
        OSError: If the folder or a file in it cannot be written.

    Example:
        >>> import tempfile
        >>> from callboard.testing import ScriptedRun
        >>> folder = tempfile.mkdtemp()
        >>> _ = ScriptedRun([0.5, 0.25], monitor="val_loss").play(TensorBoard(folder))
        >>> sorted(path.name for path in Path(folder).iterdir())
        ['train', 'validation']

    Source: Keras 3.15 ``TensorBoard``; docs/differences.md has what is not as there.
    """

    order: ClassVar[int] = 10
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: int | str = "epoch",
        profile_batch: int | str | tuple[int, int] = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Mapping[str, Any] | Sequence[Any] | os.PathLike[str] | None = None,
        *,
        layers: str | Sequence[str] | None = None,
        activations: bool = True,
        gradients: bool = False,
        hparams: Mapping[str, object] | None = None,
        text: bool = False,
        custom_scalars: bool | Layout = False,
    ) -> None:
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = _epochs_between(histogram_freq, "histogram_freq")
        self.embeddings_freq = _epochs_between(embeddings_freq, "embeddings_freq")
        _require("histogram_freq", histogram_freq, write_images=write_images, gradients=gradients)
        _require("embeddings_freq", embeddings_freq, embeddings_metadata=embeddings_metadata)
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = update_freq
        self.profile_batch = profile_batch
        self.activations = activations
        self.gradients = gradients
        self.looks_at_data = activations and bool(histogram_freq)
        self.hparams = None if hparams is None else dict(hparams)
        self.text = text
        self.custom_scalars = custom_scalars
        if self.hparams is not None:
            session_start_value(self.hparams, 0.0)  # reports what is none now
        self._folder = Path(log_dir)
        self._files = EventFiles(self._folder, self._start)
        self._records = RunRecords(
            graph=write_graph, text=text, layout=custom_scalars, skip=self._note
        )
        chosen = LayerSelection(layers)
        self._layers = LayerRecords(chosen, write_images, activations, gradients, self._skip)
        self._embeddings = EmbeddingFiles(self._folder, embeddings_metadata)
        batches = batches_to_profile(profile_batch)
        self._profile = batches and BatchProfile(batches, self._folder / "train", self._skip)
        self._period = batches_between(update_freq)
        self._epoch_speed, self._batch_speed = StepSpeed(), StepSpeed()
        self._began_at: tuple[int, int] | None = None  # epoch and step
        self._failed = False
        self._next_step = self._steps_before = 0
        self._skipped: set[str] = set()
        self._message = ""
        # Set here, not defined in the class: so that epochs alone cost nothing per batch.
        if self._profile:
            self.on_train_batch_begin = self._begin_batch  # type: ignore[method-assign] # as said
        if self._profile or self._period:
            self.on_train_batch_end = self._end_batch  # type: ignore[method-assign] # as said

    def reset(self) -> None:
        """Begin a run of its own."""
        self._files.reset()
        self._records.reset()
        if self._profile:
            self._profile.reset()

    def check(self) -> None:
        """Check that the folder can be written and that there is what is to be written."""
        for part in ("train", "validation"):
            fs.writable_file(self._folder / part / "events.out.tfevents")
        if self.run.purpose != "train":
            return
        if self.histogram_freq:
            self._layers.check(self.run)
        if self.embeddings_freq:
            self._embeddings.check(self.run)
        if self._profile:
            self._profile.check(self.run)

    def writes(self) -> Iterable[Path]:
        """Return the folder."""
        return (self._folder,)

    # ---- hooks -----------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note where the run began, and begin to measure the epoch."""
        step = self.run.progress.step
        if self._began_at is None:
            self._steps_before = max(0, self._iterations() - step)
            self._began_at = (epoch, step + self._steps_before)
            self._next_step = self._due_after(step + self._steps_before)
            self._write_hparams()
        self._epoch_speed.begin(step)
        self._batch_speed.begin(step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's metrics, and what else is due."""
        if self.embeddings_freq and epoch % self.embeddings_freq == 0:
            # First: the projector looks for its files when it finds the run.
            self._embeddings.write(self.run, self._folder / "train")
        numbers = _numbers(logs)
        self._write_metrics(epoch, numbers)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._layers.write(self._files.writer("train"), self.run, epoch)
        self._records.write(self._files.writer("train"), self.run, epoch, numbers)
        self._files.flush()
        self._print_message()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Write the metrics of an evaluation over the training steps done by then."""
        numbers = _numbers(logs)
        if numbers:
            values = {f"evaluation_{n}_vs_iterations": v for n, v in numbers.items()}
            self._files.writer("validation").add_scalars(values, self._steps_done())

    def on_exception(self, error: BaseException) -> None:
        """Note that the run has failed."""
        self._failed = True

    def close(self) -> None:
        """Sync and close the files; the next run writes new ones."""
        try:
            if self._profile and self._run is not None:
                self._report_profile(now=True)
                self._print_message()
            if self.text and self._began_at is not None:
                writer = self._files.writer("train")
                self._records.write_journal(writer, self.run, self.run.progress.epoch)
        finally:
            failed, self._failed = self._failed, False
            self._began_at = None
            self._skipped.clear()
            self._files.close(failed=failed)

    def _begin_batch(self, batch: int, logs: Logs | None = None) -> None:
        if self._profile:
            self._profile.begin(self.run)

    def _end_batch(self, batch: int, logs: Logs | None = None) -> None:
        if self._profile:
            self._report_profile()
        step = self._steps_done()
        if not self._period or step < self._next_step:
            return
        self._next_step = self._due_after(step)
        values = {f"batch_{name}": value for name, value in _numbers(logs).items()}
        if self.write_steps_per_second:
            values["batch_steps_per_second"] = self._batch_speed.until(self.run.progress.step)
            self._batch_speed.begin(self.run.progress.step)
        if values:
            self._files.writer("train").add_scalars(values, step)

    # ---- state -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Make what is written durable, and note how much of each file that is."""
        self._files.settle()

    def state_dict(self) -> dict[str, Any]:
        """Return the files that belong to the run, how much of each is written, and what is due."""
        return {
            **self._files.state_dict(),
            "next_step": self._next_step,
            "steps_before": self._steps_before,
            **self._records.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in new files; what was written after the state was taken is removed."""
        super().load_state_dict(state)
        self._files.load_state_dict(state)
        self._next_step = state["next_step"]
        self._steps_before = state.get("steps_before", 0)
        self._records.load_state_dict(state)
        if self._run is None:
            return
        run = self._run
        self._began_at = (
            run.progress.epoch if run.in_epoch else run.next_epoch,
            self._steps_done() + 1,
        )
        self._epoch_speed.begin(run.progress.step)
        self._batch_speed.begin(run.progress.step)
        if not run.trainable.rank:
            self._files.cut_back(("train", "validation", ""))
            self._write_hparams()  # the new file is the one that will have the end of the run

    # ---- what is written -------------------------------------------------------------------------

    def _write_metrics(self, epoch: int, numbers: dict[str, float]) -> None:
        validation = {f"epoch_{n[4:]}": v for n, v in numbers.items() if n.startswith("val_")}
        train = {f"epoch_{n}": v for n, v in numbers.items() if not n.startswith("val_")}
        if "learning_rate" not in numbers:  # there, it is the one that this epoch had
            with contextlib.suppress(UnsupportedError):  # no model, or no optimizer
                train["epoch_learning_rate"] = self.run.learning_rate
        if self.write_steps_per_second:
            speed = self._epoch_speed.until(self.run.progress.step)
            train["epoch_steps_per_second"] = speed
        self._files.writer("train").add_scalars(train, epoch)
        if validation:
            self._files.writer("validation").add_scalars(validation, epoch)

    def _write_hparams(self) -> None:
        if self.hparams is not None:
            self._files.writer("").add_hparams(self.hparams)
            self._files.flush()

    def _report_profile(self, *, now: bool = False) -> None:
        done = self._profile.end(self.run, now=now) if self._profile else ""
        if done:
            self.run.decide(self, "profiled", done)
            self._message = f"TensorBoard: {done}"

    def _print_message(self) -> None:
        """Print what there is to say, when no line of progress is in the way."""
        message, self._message = self._message, ""
        if message:
            self.run.print(message)

    def _note(self, cause: str) -> None:
        self.run.decide(self, "skipped", cause)

    def _skip(self, what: str, cause: str) -> None:
        """Say, once in a run, what cannot be written."""
        if what not in self._skipped:
            self._skipped.add(what)
            cause = f"{what} are not written: {cause}"
            self.run.decide(self, "skipped", cause)
            warnings.warn(f"TensorBoard: {cause}", RuntimeWarning, stacklevel=2)

    # ---- steps -----------------------------------------------------------------------------------

    def _steps_done(self) -> int:
        if self.run.purpose == "train":
            return self.run.progress.step + self._steps_before
        return self._iterations()  # an evaluation alone has trained nothing

    def _iterations(self) -> int:
        """Return how many updates the model's optimizer has made, in earlier runs too."""
        optimizer = getattr(self.run.model, "optimizer", None)
        return int(getattr(optimizer, "iterations", 0))

    def _due_after(self, step: int) -> int:
        """Return the next step to write; an execution of several batches may pass it by."""
        return (step // self._period + 1) * self._period if self._period else 0

    def _start(self, part: str) -> int:
        """Return the step from which on this run replaces what is in the folder."""
        if self._began_at is None:
            return self._steps_done()
        epoch, step = self._began_at
        # Where steps and epochs share a folder, the larger one: too much is better than a loss.
        return max(epoch, step) if part == "validation" or self._period else epoch


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the metrics that are one number; a callback may add texts and arrays too."""
    read = {name: plain(value) for name, value in (logs or {}).items()}
    return {name: value for name, value in read.items() if isinstance(value, float)}


def _epochs_between(value: object, name: str) -> int:
    if not _is_whole(value) or value < 0:
        raise ConfigurationError(f"{name} must be a number of epochs, 0 or more; got {value!r}")
    return int(value)


def _require(frequency: str, value: object, **options: object) -> None:
    """Raise if an option is given that goes by a frequency which is 0."""
    for name, given in options.items():
        if given and not value:
            raise ConfigurationError(
                f"{name} goes by {frequency}, which is 0; pass {frequency}=1 or more"
            )


def _is_whole(value: object) -> TypeGuard[Integral]:
    return isinstance(value, Integral) and not isinstance(value, bool)
