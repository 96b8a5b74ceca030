"""Callbacks of ours in Keras's own ``fit``, as one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import keras

from callboard._core.dispatch import CallbackList
from callboard._core.errors import RunStateError
from callboard._core.history import History
from callboard._core.hosted import HostedRun
from callboard._core.run import Run
from callboard.keras.data import ResumableData
from callboard.keras.reporter import Reporter

__all__ = ["Callbacks"]

_BATCH_ENDS = ("on_train_batch_end", "on_test_batch_end", "on_predict_batch_end")


class Callbacks(keras.callbacks.Callback):  # type: ignore[misc] # Keras has no types
    """Many callbacks of ours as one that Keras calls, with all that a :class:`callboard.Run` gives.

    They are called in their declared order, their configuration is checked before the first epoch,
    decisions are in the journal, and with ``directory=``, or a ``BackupAndRestore`` among them, the
    same program started again goes on where it was: weights, optimizer, seeds, the state of every
    callback, epoch and batch. Keras does not tell callbacks of errors and Ctrl-C: as a context
    manager around ``fit`` they hear of them, and of signals that ask for an end.

    The order of the data has to be the same again for a run to be gone on with in the middle of an
    epoch. It is for arrays and ``PyDataset`` on JAX and PyTorch; :func:`callboard.keras.fit` makes
    it so on every backend and for loaders that have a state.

    Args:
        callbacks: Callbacks of ours, and of Keras.
        directory: As in :class:`callboard.Run`: the folder in which the run is kept.
        max_time: As in :class:`callboard.Run`: seconds, or a text such as "11.5 h".
        stateful: As in :class:`callboard.Run`: what else belongs to the run's state.
        sample: Inputs of a batch, for histograms of activations; by default the first batch.
        validation: Whether ``fit`` validates; None if that is to be seen.
        data: The data that ``fit`` is given, if it can be gone on with by itself.
        initial_epoch: As given to ``fit``.

    Attributes:
        callbacks: What was given, in the order in which they are called.
        run: The latest run.
        history: The :class:`History` of the whole run, also of what was before an interruption.
        journal: The decisions that callbacks took, with their causes.

    Raises:
        ConfigurationError: When ``fit`` begins, for what surely cannot work.

    Example:
        >>> import keras, numpy as np
        >>> from callboard.callbacks import EarlyStopping
        >>> from callboard.keras import Callbacks
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.zeros((8, 2), "float32"), np.zeros((8, 1), "float32")
        >>> with Callbacks([EarlyStopping("loss", patience=1)]) as callbacks:
        ...     _ = model.fit(x, y, epochs=9, verbose=0, callbacks=[callbacks])
        >>> callbacks.run.stop_reason
        'loss did not improve on 0 for 1 epochs'
    """

    def __init__(
        self,
        callbacks: Iterable[Any],
        *,
        directory: str | os.PathLike[str] | None = None,
        max_time: float | str | None = None,
        stateful: Mapping[str, Any] | None = None,
        sample: Any = None,
        validation: bool | None = None,
        data: ResumableData | None = None,
        initial_epoch: int = 0,
    ) -> None:
        super().__init__()
        self.callbacks = tuple(CallbackList(callbacks))
        self._options = {
            "directory": directory,
            "max_time": max_time,
            "stateful": stateful,
            "sample": sample,
            "validation": validation,
            "data": data,
            "initial_epoch": initial_epoch,
        }
        self._entered = False
        self._reporter: Reporter | None = None

    @property
    def run(self) -> HostedRun:
        """The latest run.

        Raises:
            RunStateError: If none has begun yet.
        """
        if self._reporter is None or self._reporter.run is None:
            raise RunStateError("no training has begun with these callbacks yet")
        return self._reporter.run

    @property
    def history(self) -> History:
        """The history of the latest run."""
        return self.run.history

    @property
    def journal(self) -> Any:
        """The decisions of the latest run."""
        return self.run.journal

    def __enter__(self) -> Self:
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered = False
        if error is not None and self._reporter is not None:
            self._reporter.fail(error)

    # ---- called by Keras -------------------------------------------------------------------------

    @property
    def async_safe(self) -> bool:
        """Whether Keras may call the hooks at the end of batches in other threads."""
        self._listen()
        all_callbacks = (*self.callbacks, *Run.witnesses)
        return all(_bears_threads(callback) for callback in all_callbacks)

    def set_model(self, model: Any) -> None:
        """Receive the model, whose fit is about to begin."""
        super().set_model(model)
        self._listen()
        if self._reporter is not None and not self._reporter.is_over:
            self._reporter.fail(RunStateError("the training was given up; another one begins"))
        self._reporter = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin a run, or go on with one."""
        self._report().train_begin()

    def on_train_end(self, logs: Any = None) -> None:
        """End it."""
        self._report().train_end()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin an epoch."""
        self._report().epoch_begin(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """End it, with its metrics."""
        self._report().epoch_end({} if logs is None else logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin a batch."""
        self._report().train_batch_begin(batch)

    def on_test_begin(self, logs: Any = None) -> None:
        """Begin a validation or evaluation."""
        self._report().test_begin()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin a batch of it."""
        self._report().test_batch_begin(batch)

    def on_test_end(self, logs: Any = None) -> None:
        """End it, with its metrics."""
        self._report().test_end(logs or {})

    def on_predict_begin(self, logs: Any = None) -> None:
        """Begin a prediction."""
        self._report().predict_begin()

    def on_predict_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begin a batch of it."""
        self._report().predict_batch_begin(batch)

    def on_predict_end(self, logs: Any = None) -> None:
        """End it."""
        self._report().predict_end()

    # ---- inside ----------------------------------------------------------------------------------

    def _report(self) -> Reporter:
        if self._reporter is None:
            self._reporter = Reporter(
                self._model,
                self.callbacks,
                self.params or {},
                signals=self._entered,  # else nobody would say when they are to be put back
                **self._options,
            )
        return self._reporter

    def _listen(self) -> None:
        """Have hooks at the end of batches only if a callback has: a hook has its price in Keras.

        With none, Keras neither waits for a device after every batch nor turns logs into floats.
        """
        everyone = CallbackList([self.callbacks, *Run.witnesses])
        for hook in _BATCH_ENDS:
            self.__dict__.pop(hook, None)
            if not everyone.idle(hook):
                setattr(self, hook, getattr(self, f"_{hook.removeprefix('on_')}"))

    def _train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._report().train_batch_end(batch, logs)

    def _test_batch_end(self, batch: int, logs: Any = None) -> None:
        self._report().test_batch_end(batch, logs)

    def _predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self._report().predict_batch_end(batch, logs)


def _bears_threads(callback: Any) -> bool:
    """Whether a callback's hooks at the end of batches may be called in other threads."""
    alone = CallbackList([callback])
    return getattr(callback, "async_safe", False) or all(alone.idle(hook) for hook in _BATCH_ENDS)
