"""skorch: ``NeuralNet(callbacks=[Callbacks([...])])``."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import skorch.callbacks

from callboard._core.samples import sample_count
from callboard.bridges.bridge import Bridge
from callboard.bridges.names import renamed, translated
from callboard.bridges.running_mean import RunningMean

__all__ = ["Callbacks"]


class Callbacks(Bridge, skorch.callbacks.Callback):
    """Callbacks for skorch's nets, as one of its own; give it as the last of the list.

    ``train_loss``, ``valid_loss`` and ``valid_acc`` of skorch's history are ``loss``, ``val_loss``
    and ``val_accuracy`` in the logs, and can be read by skorch's names too. A stop is skorch's
    KeyboardInterrupt, raised at the beginning of the next epoch so that all of its callbacks see
    the last one.

    skorch takes Ctrl-C for an end like any other, and does not tell of errors: for ``on_exception``
    and ``close`` go ``with Callbacks([...]) as callbacks:`` around ``fit``.

    Args:
        callbacks: Callbacks, in any order.
        verbose: 1 shows progress besides skorch's own, 2 prints a line an epoch.

    Attributes:
        run: The :class:`callboard.Run` of the latest ``fit``, with ``history`` and ``journal``.

    Raises:
        ConfigurationError: For a list that holds something else than callbacks; before the first
            batch for what surely cannot work.
        UnsupportedError: In ``fit``, for ``BackupAndRestore``.

    Example:
        >>> import torch, skorch
        >>> from callboard.callbacks import EarlyStopping
        >>> callbacks = Callbacks([EarlyStopping(patience=3)])
        >>> net = skorch.NeuralNetClassifier(torch.nn.Identity, callbacks=[callbacks])

    Source: skorch 1.4 ``skorch.callbacks.Callback``.
    """

    _wakes_for_bad_losses = True
    _resumes_by = "save the net with skorch's Checkpoint(f_pickle=...) and go on by partial_fit"

    def __init__(self, callbacks: Iterable[Any] = (), *, verbose: int = 0) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._loss = RunningMean("loss")
        self._index = 0
        self._counts_batches = True

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **given: Any) -> None:  # noqa: N803 - the host's
        """Begin the run."""
        self._unused = self.callbacks
        if any(getattr(each, "f_pickle", None) for _, each in net.callbacks_):
            self._unused = copy.deepcopy(self.callbacks)  # the net is pickled during the training
        done = len(net.history)
        self._begin(
            net.module_,
            net.optimizer_,
            epochs=done + net.max_epochs,
            initial_epoch=done,
            validation=net.train_split is not None,
            rate_controller="skorch's LRScheduler"
            if any(isinstance(each, skorch.callbacks.LRScheduler) for _, each in net.callbacks_)
            else None,
            metrics_by="train_split= to the net",
        )
        self._counts_batches = self._follows_batches
        if self.run.in_epoch and done == self.run.progress.epoch + 1:
            # The state was saved by a callback that comes before this one.
            self._guarded(self.run.end_epoch, *_logs(net.history[-1]))

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **given: Any
    ) -> None:
        """Report the beginning of an epoch, or end the training."""
        if self.run.stopping:
            del net.history[-1]  # the row of an epoch that does not take place
            raise KeyboardInterrupt
        self._loss = RunningMean("loss")
        self._index = 0
        self._in_validation = False
        self._guarded(self.run.begin_epoch, len(net.history) - 1)
        if self.run.stopping:
            del net.history[-1]
            raise KeyboardInterrupt

    def on_batch_begin(
        self, net: Any, batch: Any = None, training: Any = None, **given: Any
    ) -> None:
        """Report the beginning of a batch."""
        if training:
            if self._counts_batches:
                self._guarded(self.run.begin_batch)
            return
        if not self._in_validation:
            self._in_validation = True
            self._catch_up(net)
            self._guarded(self.run.begin_validation)
        self._guarded(self.run.begin_validation_batch, self._index)

    def on_batch_end(self, net: Any, batch: Any = None, training: Any = None, **given: Any) -> None:
        """Report the end of a batch."""
        if not training:
            self._guarded(self.run.end_validation_batch, self._index)
            self._index += 1
            return
        run = self.run
        if "train" not in run.samples:
            run.samples["train"] = batch
        loss = given.get("loss")
        if not self._counts_batches:
            if run.sleeps and loss is not None and not math.isfinite(loss.item()):
                self._wake()
            if not self._is_awake:
                return
            self._catch_up(net, but=1)
        samples = sample_count(batch)
        try:
            if loss is not None:
                self._loss.add(loss, samples)
            stops = run.end_batch(self._logs, samples=samples)
        except BaseException as error:
            self._fail(error)
            raise
        if stops:
            raise KeyboardInterrupt

    def on_epoch_end(
        self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **given: Any
    ) -> None:
        """Report the end of an epoch with its validation."""
        self._catch_up(net)
        logs, other_names = _logs(net.history[-1])
        if self._in_validation:
            validation = {n.removeprefix("val_"): v for n, v in logs.items() if n[:4] == "val_"}
            self._guarded(self.run.end_validation, validation)
        self._guarded(self.run.end_epoch, {**self._logs(), **logs}, other_names)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **given: Any) -> None:  # noqa: N803 - the host's
        """End the run, and an epoch that was left by an interrupt of whatever callback."""
        run = self.run
        if self._is_running and run.in_epoch and len(net.history) == run.progress.epoch + 1:
            self._catch_up(net)
            if run.progress.batch:
                self.on_epoch_end(net)
        self._end()

    def _get_param_names(self) -> tuple[str, ...]:
        """Return what the constructor takes: skorch would have every attribute for a parameter."""
        return ("callbacks", "verbose")

    def _logs(self) -> dict[str, Any]:
        mean = self._loss.so_far()
        return {"loss": mean} if mean.weight else {}

    def _catch_up(self, net: Any, but: int = 0) -> None:
        """Count the batches of the epoch that were not reported one by one, but the latest."""
        rows = [row for row in net.history[-1]["batches"] if "train_batch_size" in row]
        uncounted = rows[self.run.progress.batch : len(rows) - but]
        if uncounted:
            for row in uncounted:
                if "train_loss" in row:
                    self._loss.add(row["train_loss"], row["train_batch_size"])
            samples = sum(row["train_batch_size"] for row in uncounted)
            self._guarded(partial(self.run.count, len(uncounted), samples=samples))


def _logs(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the metrics in a row of skorch's history, and its names for them."""
    metrics = {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float)
        and name not in ("epoch", "dur")
        and not name.startswith("event_")  # that a checkpoint was saved, for one
        and not name.endswith(("_batch_count", "_best"))
    }
    names = [(n, "val_accuracy" if n == "valid_acc" else translated(n)) for n in metrics]
    return renamed(metrics, names)
