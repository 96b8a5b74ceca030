"""Callbacks for a loop that calls the hooks itself, as Keras's documentation shows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from callboard._core import dispatch
from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError, RunStateError, UnsupportedError
from callboard._core.history import History
from callboard._core.logs import Logs
from callboard._core.passes import Purpose
from callboard._core.trainable import NoModel, Trainable, trainable_of
from callboard.callbacks.progbar_logger import ProgbarLogger
from callboard.callbacks.run_by_hand import RunByHand

__all__ = ["CallbackList"]


class CallbackList(dispatch.CallbackList):
    """Many callbacks seen as one, for a loop that calls the hooks itself.

    From ``on_train_begin`` to ``on_train_end`` there is a run around them, so that callbacks that
    need one work: ``callbacks.run``. Look at ``callbacks.model.stop_training`` after a batch and
    after an epoch, and leave the loop. In an ``except`` clause call ``callbacks.on_exception``,
    which closes them; :class:`callboard.Run` does that by itself and counts for you.

    Args:
        callbacks: Callbacks, or anything with Keras's callback methods; lists in it are flattened.
            They are sorted by their ``order``; equal ones keep the order of the list.
        add_history: Add a :class:`History`, unless there is one.
        add_progbar: Add a :class:`ProgbarLogger`, unless there is one; needs ``epochs=``.
        model: What is trained: a ``Model``, a torch module (the callbacks get a view of it with
            ``stop_training``), or any object of yours. None for numbers alone.
        **params: ``epochs``, ``steps``, ``verbose`` and whatever else ``self.params`` is to have.

    Attributes:
        callbacks: The callbacks, in the order in which they are called.
        model: What the callbacks have as ``self.model``.
        params: What they have as ``self.params``.

    Raises:
        ConfigurationError: If one is a class, no callback at all, or given twice; for
            ``add_progbar`` without ``epochs``; in ``on_train_begin`` for what surely cannot work.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> stopping = EarlyStopping("loss", patience=1)
        >>> callbacks = CallbackList([stopping], add_history=True, epochs=9)
        >>> callbacks.on_train_begin()
        >>> for epoch, loss in enumerate([0.5, 0.4, 0.6, 0.3]):
        ...     callbacks.on_epoch_begin(epoch)
        ...     callbacks.on_train_batch_begin(0)
        ...     callbacks.on_train_batch_end(0, {"loss": loss})
        ...     callbacks.on_epoch_end(epoch, {"loss": loss})
        ...     if callbacks.model.stop_training:
        ...         break
        >>> callbacks.on_train_end()
        >>> callbacks.model.history.history
        {'loss': [0.5, 0.4, 0.6]}

    Source: Keras 3.15 ``CallbackList``, whose documented ``append`` does not exist.
    """

    def __init__(
        self,
        callbacks: Iterable[Any] | None = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        self._running = False
        super().__init__(() if callbacks is None else callbacks)
        if add_progbar and "epochs" not in params:
            raise ConfigurationError(
                "CallbackList(add_progbar=True) shows how far the loop is; pass epochs= and steps="
            )
        for kind, wanted in ((History, add_history), (ProgbarLogger, add_progbar)):
            if wanted and not any(isinstance(callback, kind) for callback in self.callbacks):
                self.append(kind())
        self._trainable: Trainable = NoModel()
        self.model = self._trainable.model
        self.set_model(model)
        self.set_params(params)

    def append(self, callback: Any) -> None:
        """Add a callback, or a list of them, before training begins.

        Raises:
            RunStateError: Between ``on_train_begin`` and ``on_train_end``.
        """
        if self._running:
            raise RunStateError("append callbacks before on_train_begin: a run has begun")
        super().append(callback)

    def set_model(self, model: Any) -> None:
        """Say what is trained, and tell the callbacks."""
        if model is None:
            return
        try:
            self._trainable = trainable_of(model, None)
        except UnsupportedError:  # of no framework: callbacks can do nothing to its weights
            self._trainable = NoModel()
            self._trainable.model = model
        self.model = self._trainable.model
        for callback in self.callbacks:
            if isinstance(callback, Callback):  # its ``set_model`` is called when a run begins
                callback.model = self.model
            else:
                callback.set_model(self.model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Say ``epochs``, ``steps``, ``verbose`` and others, and tell the callbacks."""
        self.params = dict(params)
        if params:
            self.each("set_params", self.params)

    def resolve(self) -> None:
        """Look anew which hooks are overridden."""
        super().resolve()
        for purpose in _PURPOSES:
            setattr(self, f"on_{purpose}_begin", functools.partial(self._begin, purpose))

    def _begin(self, purpose: Purpose, logs: object = None) -> None:
        """Begin a run, which hears the other hooks from now on and tells the callbacks."""
        for callback in self.callbacks:
            if getattr(type(callback), "saved_run", None) not in (None, Callback.saved_run):
                raise ConfigurationError(
                    f"{type(callback).__name__} goes on with a run that was interrupted, which a "
                    "loop that calls the hooks itself cannot; write the loop with callboard.Run"
                )
        run = RunByHand(
            self.params,
            self._over,
            trainable=self._trainable,
            callbacks=self.callbacks,
            purpose=purpose,
        )
        self._run = run
        for callback in self.callbacks:
            if isinstance(callback, History):
                self.model.history = callback
        run.begin()
        if purpose == "test":
            run.begin_validation()
        elif purpose == "predict":
            run.callbacks.on_predict_begin(Logs())
        self._running = True
        vars(self).update(run.hooks())
        if purpose == "train":  # an evaluation of its own has no training in it
            self.__dict__["on_predict_begin"] = run.callbacks.on_predict_begin

    def _over(self) -> None:
        self._running = False
        self.resolve()


_PURPOSES: tuple[Purpose, ...] = ("train", "test", "predict")
