"""What callbacks would have decided on a run that is recorded."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError, DataError
from callboard._core.history import History
from callboard._core.hosted import HostedRun
from callboard._core.journal import Journal
from callboard._core.monitor import Best, Mode
from callboard.callbacks.monitor_callback import MonitorCallback
from callboard.replaying.stand_ins import (
    ModelCheckpoint,
    NoHistory,
    ReplayedModel,
    ReplayedRun,
    only_deciding,
)

__all__ = ["Replay", "replay"]

_OURS = "callboard"
_RATE = "learning_rate"
_DEFAULT_RATE = 0.001  # Keras's Adam


@dataclass(frozen=True)
class Replay:
    """What callbacks would have done.

    Attributes:
        journal: The decisions, with their causes.
        epochs: The epochs of the record that would have taken place, from 0.
        learning_rates: The learning rate of each of these epochs.
        recorded: How many epochs the record has.
        monitor: The metric that ``loss_given_up`` is about.
        stop_reason: Why the run would have been stopped, or an empty text.
        best: The best value of ``monitor`` in the epochs that would have taken place, or None.
        best_recorded: The best in the whole record, or None.
        kept: The checkpoints that there would be at the end: path (of those in a folder, the
            folder's) and epoch, from 0.
    """

    journal: Journal
    epochs: list[int]
    learning_rates: list[float]
    recorded: int
    monitor: str
    stop_reason: str
    best: float | None
    best_recorded: float | None
    kept: list[tuple[str, int]] = field(default_factory=list)

    @property
    def stopped_epoch(self) -> int | None:
        """The epoch (from 0) after which the run would have been stopped, or None."""
        return self.epochs[-1] if self.stop_reason else None

    @property
    def epochs_saved(self) -> int:
        """Epochs of the record that would not have taken place."""
        return self.recorded - len(self.epochs)

    @property
    def loss_given_up(self) -> float:
        """How much better the best of the whole record is, 0 or more; NaN if nothing was found."""
        if self.best is None or self.best_recorded is None:
            return math.nan
        return abs(self.best - self.best_recorded)

    def __repr__(self) -> str:
        return (
            f"Replay({len(self.epochs)} of {self.recorded} epochs, best {self.monitor} "
            f"{self.best}, {self.loss_given_up:g} given up)"
        )


def replay(
    history: History | Mapping[str, Sequence[float]] | str | os.PathLike[str],
    callbacks: Callback | Iterable[Callback],
    *,
    epochs: Sequence[int] | None = None,
    learning_rate: float | None = None,
) -> Replay:
    """Play callbacks on recorded metrics and return what they would have decided.

    Nothing is trained, written or printed, and the callbacks that are given stay as they are. The
    metrics are those of the record: they do not answer to a learning rate that would have been
    lower.

    Args:
        history: A ``History``, what ``History.history`` is, or the path of a log, event file,
            checkpoint store or folder of a run, as ``callboard.recorded.read_recording`` takes it.
        callbacks: EarlyStopping, ReduceLROnPlateau, ModelCheckpoint (to a file or a folder, by
            epochs), or callbacks of your own that decide by ``on_epoch_end``.
        epochs: The epochs, from 0, if the history does not know them.
        learning_rate: The rate to begin with; by default the first that was recorded, or 0.001.

    Raises:
        ConfigurationError: If there is no callback, or one cannot work.
        MetricNotFoundError: If a metric that is monitored was not recorded.
        UnsupportedError: For a callback that writes, that trains, or that saves between epochs.
        DataError: If the record is empty or not one value for each epoch.

    Example:
        >>> import callboard
        >>> from callboard.callbacks import EarlyStopping
        >>> run = {"val_loss": [0.9, 0.7, 0.8, 0.8, 0.6]}
        >>> callboard.replay(run, EarlyStopping(patience=2)).journal
        epoch 4, step 0: EarlyStopping stopped: val_loss did not improve on 0.7 for 2 epochs
        >>> [callboard.replay(run, EarlyStopping(patience=n)).epochs_saved for n in (1, 2, 3)]
        [2, 1, 0]
    """
    given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    if not given:
        raise ConfigurationError("replay needs a callback to ask; pass EarlyStopping(patience=3)")
    metrics, numbers = _record(history, epochs)
    rates = metrics.pop(_RATE, [])
    if learning_rate is None:
        learning_rate = next((rate for rate in rates if rate > 0), _DEFAULT_RATE)
    model = ReplayedModel(learning_rate)
    asked = [only_deciding(callback) for callback in given]
    are_ours = all(type(callback).__module__.partition(".")[0] == _OURS for callback in asked)
    run = ReplayedRun(
        trainable=model,
        epochs=numbers[-1] + 1,
        initial_epoch=numbers[0],
        callbacks=[*asked, NoHistory()] if are_ours else asked,
        verbose=0,
        metrics=dict.fromkeys(name.removeprefix("val_") for name in metrics),
        validation=True,  # which metrics it has, the run knows from the record
        signals=False,
    )
    run.recorded = tuple(metrics)
    done, taken = _play(run, model, metrics, numbers)
    monitor = next((c.monitor for c in asked if isinstance(c, MonitorCallback)), "")
    values = metrics.get(monitor, [])
    mode: Mode = next((c._watched.mode for c in asked if isinstance(c, MonitorCallback)), "min")  # noqa: SLF001 - its direction, found by now
    best = Best(mode), Best(mode)
    for at, value in enumerate(values):
        best[1].update(value)
        if at < len(done):
            best[0].update(value)
    return Replay(
        run.journal,
        done,
        taken,
        len(numbers),
        monitor,
        run.stop_reason,
        best[0].value,
        best[1].value,
        [*model.saved.items(), *_in_folders(asked)],
    )


def _in_folders(asked: Sequence[Callback]) -> Iterator[tuple[str, int]]:
    """Yield the checkpoints that folders would have at the end."""
    for callback in asked:
        if isinstance(callback, ModelCheckpoint) and callback.folder is not None:
            for each in callback.folder.kept:
                yield callback.filepath, each.epoch - 1


def _play(
    run: HostedRun,
    model: ReplayedModel,
    metrics: Mapping[str, Sequence[float]],
    numbers: Sequence[int],
) -> tuple[list[int], list[float]]:
    """Return the epochs that took place, and their learning rates."""
    done, rates = [], []
    run.begin()
    try:
        for epoch, logs in zip(numbers, _rows(metrics), strict=True):
            run.begin_epoch(epoch)
            run.validated = any(name[:4] == "val_" for name in logs)
            done.append(epoch)
            model.epoch = epoch
            rates.append(run.learning_rate)
            if run.end_epoch(logs):
                break
    except BaseException as error:
        run.fail(error)
        raise
    run.end()
    return done, rates


def _rows(metrics: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    """Yield the metrics of each epoch; a validation of NaN alone is one that did not take place."""
    for values in zip(*metrics.values(), strict=True):
        row = dict(zip(metrics, values, strict=True))
        validated = any(v == v for n, v in row.items() if n[:4] == "val_")  # noqa: PLR0124 - NaN
        yield row if validated else {n: v for n, v in row.items() if n[:4] != "val_"}


def _record(
    history: History | Mapping[str, Sequence[float]] | str | os.PathLike[str],
    epochs: Sequence[int] | None,
) -> tuple[dict[str, Sequence[float]], Sequence[int]]:
    if isinstance(history, (str, os.PathLike)):
        from callboard.recorded import read_recording  # noqa: PLC0415 - readers load when needed

        recording = read_recording(history)
        metrics: Mapping[str, Sequence[float]] = recording.history
        epochs = recording.epochs if epochs is None else epochs
    elif isinstance(history, Mapping):
        metrics = history
    else:
        metrics = history.history
        epochs = history.epoch if epochs is None else epochs
    count = max((len(values) for values in metrics.values()), default=0)
    numbers = range(count) if epochs is None else epochs
    for name, values in metrics.items():
        if len(values) != len(numbers):
            raise DataError(f"{name!r} has {len(values)} values for {len(numbers)} epochs")
    if not count:
        raise DataError("there are no metrics to replay; the record is empty")
    return dict(metrics), numbers
