"""The base class of all callbacks: hooks that do nothing."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from callboard._core import frameworks
from callboard._core.errors import (
    ConfigurationError,
    RunStateError,
    UnknownArgumentError,
    nearest,
)

if TYPE_CHECKING:
    from callboard._core.logs import Logs
    from callboard._core.run import Run

__all__ = ["ALIASES", "HOOKS", "Callback", "is_default"]

_OF_A_RUN = ("_run", "_model")

_F = TypeVar("_F", bound=Callable[..., object])


def _default(method: _F) -> _F:
    """Mark a hook as one that does nothing, in the way that Keras's own dispatcher looks for."""
    method.__dict__["_is_default"] = True
    return method


def is_default(method: object) -> bool:
    """Say whether a hook is one of the base class's, so that calling it would do nothing."""
    return getattr(method, "_is_default", False)


class Callback:
    """What one subclasses to act during training: override the hooks you need.

    The hooks and their arguments are those of ``keras.callbacks.Callback``; epochs and batches
    count from 0. ``logs`` is the shared, mutable mapping of metrics: what a callback adds to it in
    ``on_epoch_end`` is seen by the callbacks after it, and by the history and log files.

    Attributes:
        model: What is being trained: the ``Model``, or for a ``Run`` around a loop of your own a
            view of your module with ``stop_training``, ``optimizer``, ``get_weights``.
        params: ``{"verbose": int, "epochs": int, "steps": int | None}``.
        run: The :class:`Run` this callback takes part in.
        order: Callbacks run by rising order, equal ones as listed. Those that read the finished
            logs (files, history, progress) have 10 and more; give -10 to one that adds a metric
            which others monitor, and its place in the list does not matter.
        writes_only: It writes or shows and decides nothing: where several processes train together,
            only the first one's is called.
        adds: Names that this callback adds to the logs, always or at times. None says that it may
            add any: a monitor that is not known then is not an error before the first epoch has
            shown.
        wakes_at_s: The time by ``time.perf_counter()`` before which its hooks at the end of a batch
            have nothing to do; a run may leave them out until then. Infinity: until the run is told
            of something bad. None: call them always.
        rate_control: "sets" if it sets the learning rate whatever it was, "scales" if it changes
            the one there is. Two callbacks that control the rate get in each other's way.
        async_safe: Its hooks at the end of batches may be called from several threads at once and
            out of order, as Keras does if all callbacks allow it; then no batch waits for them.
        looks_at_data: It looks at ``run.samples``, so a loop that shows no data has to get some.

    Example:
        >>> class Printer(Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         print(f"epoch {epoch}: loss {logs['loss']:.2f}")
        >>> from callboard.testing import ScriptedRun
        >>> _ = ScriptedRun([0.5, 0.25], monitor="loss").play(Printer())
        epoch 0: loss 0.50
        epoch 1: loss 0.25

    Source: Keras 3.15 ``keras.callbacks.Callback``; ``on_exception``, ``close``, ``state_dict`` and
        ``load_state_dict`` are ours.
    """

    order: ClassVar[int] = 0
    writes_only: ClassVar[bool] = False
    adds: ClassVar[tuple[str, ...] | None] = None
    rate_control: Literal["", "sets", "scales"] = ""
    wakes_at_s: float | None = None
    async_safe: ClassVar[bool] = False
    looks_at_data: bool = False

    params: Mapping[str, Any] = {}
    _model: Any = None
    _run: Run | None = None
    # Runs that an evaluation with this object interrupts, and its ``params`` in them.
    _outer: tuple[tuple[Run, Mapping[str, Any]], ...] = ()
    _used: bool = False
    _arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})  # as given, if plain values

    def __new__(cls, *args: object, **options: object) -> Self:
        _check_options(cls, args, options)
        made = super().__new__(cls)
        made._arguments = (tuple(map(_plain, args)), {n: _plain(v) for n, v in options.items()})
        return made

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the run and its model: a copy takes part in none."""
        return {name: value for name, value in vars(self).items() if name not in _OF_A_RUN}

    def settings(self) -> dict[str, Any]:
        """Return the arguments it was made with, defaults included, as far as they are plain.

        Example:
            >>> from callboard.callbacks import EarlyStopping
            >>> EarlyStopping("loss", patience=3).settings()["patience"]
            3
        """
        given, named = self._arguments
        if type(self).__init__ is object.__init__:
            return {}
        parameters = list(inspect.signature(type(self).__init__).parameters.values())
        settings = {p.name: p.default for p in parameters if p.default is not p.empty}
        names = [p.name for p in parameters[1:] if p.kind is p.POSITIONAL_OR_KEYWORD]
        settings |= dict(zip(names, given, strict=False)) | named
        return {name: value for name, value in settings.items() if _plain(value) is not ...}

    @property
    def run(self) -> Run:
        """The run this callback takes part in."""
        if self._run is None:
            raise RunStateError(
                f"{type(self).__name__} takes part in no run yet; "
                "give it to Model.fit(callbacks=[...]) or Run(callbacks=[...])"
            )
        return self._run

    @run.setter
    def run(self, _: object) -> None:
        raise ConfigurationError(
            f"{type(self).__name__} sets self.run, which is the callboard.Run that it takes part "
            "in; give the attribute another name"
        )

    def set_run(self, run: Run | None) -> None:
        """Take part in a run, called before everything else; with None, the run is over.

        State of an earlier run is forgotten, so that an object may be used again; state that came
        by ``load_state_dict`` since then is kept. After an evaluation inside of a run, with the
        same object, it takes part in that run again.
        """
        current = self._run
        if run is None:
            if self._outer:
                self._run, self.params = self._outer[-1]
                self._outer = self._outer[:-1]
            else:
                self._used = True
            return
        if current is not None and not current.is_over and run.purpose != "train":
            self._outer = (*self._outer, (current, self.params))
        elif self._used:
            self.reset()
        self._run = run

    @property
    def is_in_outer_run(self) -> bool:
        """Whether its run is an evaluation inside of another that it takes part in."""
        return bool(self._outer)

    def reset(self) -> None:
        """Forget the run before; called when a run begins with an object that was in one."""

    @property
    def model(self) -> Any:
        """What is being trained."""
        run = self._run
        return self._model if run is None or run.is_over else run.trainable.model

    @model.setter
    def model(self, model: Any) -> None:
        self._model = model

    def set_model(self, model: object) -> None:
        """Receive what is being trained.

        If it is a model whose framework has a loop of its own, and this callback is in that loop's
        list, a run that the loop reports to is made for all such callbacks together.
        """
        self.model = model
        if self._run is None or not self._run.introduces:
            frameworks.join_host(self, model)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Receive the run's ``verbose``, ``epochs`` and ``steps``."""
        self.params = params

    def check(self) -> None:
        """Raise if this callback cannot work in ``self.run``; called before the first batch."""

    def writes(self) -> Iterable[Path]:
        """Return the files and folders this callback will write, so that no two write one."""
        return ()

    def artifacts(self) -> Iterable[Path]:
        """Return the files and folders that are a result of the run, for those that upload them."""
        return ()

    def saved_run(self) -> Mapping[str, Any] | None:
        """Return the state of a run to go on with; called once, before training begins."""
        return None

    def resumed(self) -> None:
        """Called when the run goes on from what ``saved_run`` gave."""

    def settle(self) -> None:
        """Make durable what ``state_dict`` will refer to, such as the rows of a log file."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that this callback needs to go on later.

        Numbers, texts, bytes, None, arrays, and dicts, lists and tuples of them. Without a
        ``state_dict`` of its own, a callback's state is what has changed of its attributes.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: ARG002 - for subclasses
        """Continue exactly where the callback that gave ``state`` stood."""
        self._used = False

    @_default
    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called once, before the first epoch. ``logs`` is empty."""

    @_default
    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called once, when training ends by itself or by request, with the last epoch's logs."""

    @_default
    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before an epoch's first batch. ``logs`` is empty."""

    @_default
    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after an epoch and its validation, with their metrics (``loss``, ``val_loss``)."""

    @_default
    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training batch. ``logs`` is empty."""
        self.on_batch_begin(batch, logs)

    @_default
    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training batch, with the epoch's running means."""
        self.on_batch_end(batch, logs)

    @_default
    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of ``on_train_batch_begin``."""

    @_default
    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Older name of ``on_train_batch_end``."""

    @_default
    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called before an evaluation, also the validation inside an epoch. ``logs`` is empty."""

    @_default
    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called after an evaluation with its metrics, without the ``val_`` of the epoch's logs."""

    @_default
    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of an evaluation. ``logs`` is empty."""

    @_default
    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of an evaluation, with its running means."""

    @_default
    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called before a prediction. ``logs`` is empty."""

    @_default
    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called after a prediction. ``logs`` is empty."""

    @_default
    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of a prediction. ``logs`` is empty."""

    @_default
    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of a prediction, with its ``outputs``."""

    @_default
    def on_interrupt(self, reason: str) -> None:
        """Called between two steps when a signal or the end of the time ends the run early.

        The run can be gone on with later, from here: this is the moment to save.
        """

    @_default
    def on_exception(self, error: BaseException) -> None:
        """Called when training ends by an error, Ctrl-C or a signal; ``close`` follows."""

    @_default
    def close(self) -> None:
        """Called last, however the run ended: close files, let go of resources.

        An evaluation inside of its run is not the last.
        """


HOOKS = tuple(name for name, member in vars(Callback).items() if is_default(member))
"""The names of all hooks: the base class is the only list of them."""

ALIASES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}
"""Hooks whose default calls an older one."""


def _plain(value: object) -> Any:
    """Return a value that may be kept without keeping more alive; Ellipsis for others."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return value if value is None or isinstance(value, bool | int | float | str) else ...


def _check_options(
    cls: type[Callback], args: tuple[object, ...], options: Mapping[str, object]
) -> None:
    """Name a misspelt keyword argument and the one that was probably meant."""
    if cls.__init__ is object.__init__ and (args or options):
        # Python leaves this check to ``__new__`` where a class defines one.
        raise UnknownArgumentError(f"{cls.__name__}() takes no arguments")
    if not options:
        return
    parameters = inspect.signature(cls.__init__).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    allowed = [p.name for p in parameters if p.name != "self" and p.kind is not p.VAR_POSITIONAL]
    for name in options:
        if name not in allowed:
            raise UnknownArgumentError(
                f"{cls.__name__} has no argument {name!r}.{nearest(name, allowed)} "
                f"Allowed: {', '.join(allowed) or 'none'}"
            )
