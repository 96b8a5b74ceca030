"""What trackers of experiments have in common: when what is logged."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from callboard._core.callback import Callback
from callboard._core.errors import CallboardError, ConfigurationError, UnsupportedError
from callboard._core.every import Every
from callboard._core.logs import plain
from callboard.callbacks.point_queue import Point, PointQueue
from callboard.callbacks.run_settings import flattened, settings_of
from callboard.callbacks.update_freq import batches_between

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["Status", "Tracker"]

Status = Literal["finished", "failed", "killed"]


class Tracker(Callback, ABC):
    """Base of callbacks that log a run to a service: when what is logged, and what if it fails.

    Metrics of an epoch are logged when it has ended, under their names, with ``learning_rate`` and
    ``epoch`` (from 0); those of batches as ``batch/<name>``, which are the means of the epoch so
    far. The step is the number of training steps done (in a host without steps, of epochs).

    Before the first batch a failure is an error. Later ones end nothing: the first one is a warning
    and an entry in the journal, the points wait and are sent again later.

    When the run is gone on with after an interruption, so is the service's run, and no value comes
    twice: those that the service has are left out.

    A subclass adds the calls of its package, and nothing else.

    Args:
        params: Parameters to log besides the run's own, nested as you like.
        update_freq: "epoch", or also log the metrics of batches: "batch" for each batch, or every
            so many, counted over the epochs.
        log_checkpoints: When training ends, upload the best checkpoint (or the newest, where none
            is best) of each ``ModelCheckpoint`` in the run, and what other callbacks give as their
            ``artifacts``.
        run_id: A run that the service has, to log into; by default a new one is begun.
        required: Whether training must not begin if the package is missing or the service says no;
            if False, that is a warning, and nothing is logged.

    Attributes:
        run_id: The service's name of the run, when it has begun.
        package: What to install.
        module: What to import.

    Raises:
        ConfigurationError: Before the first batch, if the package is missing, the service cannot be
            reached or says no; for an impossible ``update_freq``.

    Example:
        >>> class Printed(Tracker):
        ...     package = module = "json"
        ...     def begin(self, run_id):
        ...         return run_id or "run-1"
        ...     def log_params(self, params):
        ...         print(params["epochs"], params["note"])
        ...     def log_metrics(self, point):
        ...         print(point.step, dict(point.values))
        ...     def last_step(self, name):
        ...         return -1
        ...     def log_artifact(self, path):
        ...         print(path)
        ...     def end(self, status):
        ...         print(status)
        >>> from callboard.testing import ScriptedRun
        >>> script = ScriptedRun({"loss": [0.5, 0.25]}, batches=10)
        >>> _ = script.play(Printed(params={"note": "a"}))
        2 a
        10 {'epoch': 0.0, 'learning_rate': 0.001, 'loss': 0.5}
        20 {'epoch': 1.0, 'learning_rate': 0.001, 'loss': 0.25}
        finished
    """

    order: ClassVar[int] = 20
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()
    package: ClassVar[str] = ""
    module: ClassVar[str] = ""

    _goes_on: bool
    _is_open: bool
    _is_off: bool
    _warned: bool
    _status: Status
    _points: PointQueue
    _every: Every | None

    def __init__(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        update_freq: int | str = "epoch",
        log_checkpoints: bool = False,
        run_id: str | None = None,
        required: bool = True,
    ) -> None:
        self.logged_params = flattened(params or {})
        self.update_freq = update_freq
        self.log_checkpoints = log_checkpoints
        self.required = required
        self.run_id = run_id
        self._given_id = run_id
        self._period = batches_between(update_freq)
        self._kept = 1000
        self.reset()
        if self._period:
            # Set here, not defined in the class: so that epochs alone cost nothing per batch.
            self.on_train_batch_end = self._log_batch  # type: ignore[method-assign] # as said

    # ---- what a subclass adds --------------------------------------------------------------------

    def connect(self) -> None:
        """See that the service can be used, as far as that shows without beginning a run."""
        self.imported()

    @abstractmethod
    def begin(self, run_id: str | None) -> str:
        """Begin a run of the service, or go on with the one of this name; return its name."""

    @abstractmethod
    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log numbers, texts and None by name; also of a run that is gone on with."""

    @abstractmethod
    def log_metrics(self, point: Point) -> None:
        """Log the values of one moment."""

    @abstractmethod
    def last_step(self, name: str) -> int:
        """Return the last step that the service has of a metric, -1 if none.

        Asked when a run is gone on with. A service that keeps one value for each step may always
        say -1.
        """

    @abstractmethod
    def log_artifact(self, path: Path) -> None:
        """Upload a file or folder."""

    @abstractmethod
    def end(self, status: Status) -> None:
        """End the service's run and let go of it."""

    def imported(self) -> Any:
        """Return the service's package.

        Raises:
            ConfigurationError: If it is not installed.
        """
        try:
            return importlib.import_module(self.module)
        except ImportError as error:
            raise ConfigurationError(
                f"{type(self).__name__} needs a package that cannot be imported ({error}): "
                f"pip install {self.package}"
            ) from error

    # ---- hooks -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that the package is there and the service answers."""
        if self.run.purpose == "train" and not self.run.trainable.rank:
            self._at_start(self.connect)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin the service's run, in the first epoch."""
        self._open()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Log the epoch's metrics."""
        values = _numbers(logs)
        if "learning_rate" not in values:
            with contextlib.suppress(UnsupportedError):  # no model, or no optimizer
                values["learning_rate"] = self.run.learning_rate
        self._log({"epoch": float(epoch), **dict(sorted(values.items()))}, of_batch=False)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Note that training ended as it should, or only for now."""
        self._status = "killed" if self.run.paused else "finished"

    def on_exception(self, error: BaseException) -> None:
        """Note that training failed, or was asked to end."""
        asked = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
        self._status = "killed" if asked else "failed"

    def close(self) -> None:
        """Send what waits, upload artifacts, and end the service's run."""
        if not self._is_open:
            return
        self._is_open = False
        self._send(at_once=True)
        if self.log_checkpoints and self._status == "finished":
            self._attempt("the checkpoints were not uploaded", self._upload)
        self._attempt("the end of the run was not logged", lambda: self.end(self._status))
        lost = len(self._points) + self._points.dropped
        if lost:
            self.run.decide(self, "skipped", f"{lost} points were not logged")

    def reset(self) -> None:
        """Begin a run of its own."""
        self.run_id = self._given_id
        self._goes_on = self._is_open = self._is_off = self._warned = False
        self._status = "failed"
        self._points = PointQueue(self._kept)
        self._every = Every(f"{self._period} steps") if self._period else None

    def state_dict(self) -> dict[str, Any]:
        """Return the service's name of the run, and the points that it may not have."""
        every = None if self._every is None else self._every.state_dict()
        return {"run_id": self.run_id, "every": every, **self._points.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the same run of the service."""
        super().load_state_dict(state)
        self.run_id = state["run_id"] or self._given_id
        self._goes_on = bool(state["run_id"])
        self._points.load_state_dict(state)
        if self._every is not None and state["every"] is not None:
            self._every.load_state_dict(state["every"])
        if self._run is not None and not self._run.trainable.rank:
            self._open()

    # ---- inside ----------------------------------------------------------------------------------

    def _open(self) -> None:
        if not self._is_open and not self._is_off:
            self._at_start(self._begin)

    def _begin(self) -> None:
        self.run_id = self.begin(self.run_id)
        self._is_open = True
        if self._goes_on:
            self._points.leave_out(self.last_step)
        self.log_params(settings_of(self.run) | self.logged_params)
        self._points.send(self.log_metrics)

    def _at_start(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            if self.required:
                if isinstance(error, CallboardError):
                    raise
                raise ConfigurationError(
                    f"{type(self).__name__} cannot log this run ({_brief(error)}); correct that, "
                    "or pass required=False to train without it"
                ) from error
            self._is_off = True
            self._tell(
                f"{'not everything' if self._is_open else 'nothing'} is logged: {_brief(error)}"
            )

    def _log_batch(self, batch: int, logs: Logs | None = None) -> None:
        # Logs are read, which may wait for a device, only when something is due.
        if self._every is not None and self._every.due(step=self.run.progress.step):
            values = {f"batch/{name}": value for name, value in _numbers(logs).items()}
            self._log(values, of_batch=True)

    def _log(self, values: Mapping[str, float], *, of_batch: bool) -> None:
        self._open()
        if self._is_open and values:
            at = self.run.progress
            self._points.add(Point(at.step or at.epoch + 1, at.epoch, of_batch, values))
            self._send()

    def _send(self, *, at_once: bool = False) -> None:
        self._attempt(
            "points were not logged and will be sent again later",
            lambda: self._points.send(self.log_metrics, at_once=at_once),
        )

    def _attempt(self, failure: str, action: Callable[[], None]) -> None:
        """Do what the training must not fail of."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a service is not worth the training
            self._tell(f"{failure}: {_brief(error)}")

    def _tell(self, cause: str) -> None:
        if not self._warned:
            self._warned = True
            self.run.decide(self, "skipped", cause)
            warnings.warn(f"{type(self).__name__}: {cause}", RuntimeWarning, stacklevel=2)

    def _upload(self) -> None:
        for callback in self.run.callbacks:
            artifacts = getattr(callback, "artifacts", None)
            for path in () if artifacts is None else artifacts():
                self.log_artifact(Path(path))


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Return the metrics that are one number; a callback may add texts and arrays too."""
    read = {name: plain(value) for name, value in (logs or {}).items()}
    return {name: value for name, value in read.items() if isinstance(value, float)}


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{'…' if len(text) > 300 else ''}"
