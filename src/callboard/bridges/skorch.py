"""skorch: ``NeuralNet(callbacks=[Callbacks([...])])``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import skorch.callbacks

from callboard._core.samples import sample_count
from callboard.bridges.bridge import Bridge
from callboard.bridges.losses import Losses
from callboard.bridges.names import renamed, translated

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

    _resumes_by = "save skorch's checkpoints and load them with LoadInitState"

    def __init__(self, callbacks: Iterable[Any] = (), *, verbose: int = 0) -> None:
        super().__init__(callbacks, verbose=verbose)
        self._losses = Losses()
        self._index = 0
        self._loss_is_wanted = True

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **given: Any) -> None:  # noqa: N803 - the host's
        """Begin the run."""
        done = len(net.history)
        self._begin(
            net.module_,
            net.optimizer_,
            epochs=done + net.max_epochs,
            initial_epoch=done,
            validation=net.train_split is not None,
        )
        self._loss_is_wanted = not self.run.callbacks.idle("on_train_batch_end")

    def on_epoch_begin(
        self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **given: Any
    ) -> None:
        """Report the beginning of an epoch, or end the training."""
        if self.run.stopping:
            del net.history[-1]  # the row of an epoch that does not take place
            raise KeyboardInterrupt
        self._losses = Losses()
        self._index = 0
        self._in_validation = False
        self._guarded(self.run.begin_epoch, len(net.history) - 1)

    def on_batch_begin(
        self, net: Any, batch: Any = None, training: Any = None, **given: Any
    ) -> None:
        """Report the beginning of a batch."""
        if training:
            self._guarded(self.run.begin_batch)
            return
        if not self._in_validation:
            self._in_validation = True
            self._guarded(self.run.begin_validation)
        self._guarded(self.run.begin_validation_batch, self._index)

    def on_batch_end(self, net: Any, batch: Any = None, training: Any = None, **given: Any) -> None:
        """Report the end of a batch."""
        if not training:
            self._guarded(self.run.end_validation_batch, self._index)
            self._index += 1
            return
        run = self.run
        if not run.progress.batch:
            run.samples["train"] = batch
        samples = sample_count(batch)
        loss = given.get("loss")
        if loss is not None and self._loss_is_wanted:  # skorch has that of an epoch itself
            self._losses.add(loss.detach(), samples)
        if self._guarded(self._end_batch, samples):
            raise KeyboardInterrupt

    def on_epoch_end(
        self, net: Any, dataset_train: Any = None, dataset_valid: Any = None, **given: Any
    ) -> None:
        """Report the end of an epoch with its validation."""
        logs, other_names = _logs(net.history[-1])
        if self._in_validation:
            validation = {n.removeprefix("val_"): v for n, v in logs.items() if n[:4] == "val_"}
            self._guarded(self.run.end_validation, validation)
        self._guarded(self.run.end_epoch, {**self._losses.logs(), **logs}, other_names)

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **given: Any) -> None:  # noqa: N803 - the host's
        """End the run."""
        self._end()

    def _end_batch(self, samples: int) -> bool:
        return self.run.end_batch(self._losses.logs, samples=samples)


def _logs(row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the metrics in a row of skorch's history, and its names for them."""
    metrics = {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float)
        and name not in ("epoch", "dur")
        and not name.endswith(("_batch_count", "_best"))
    }
    names = [(n, "val_accuracy" if n == "valid_acc" else translated(n)) for n in metrics]
    return renamed(metrics, names)
