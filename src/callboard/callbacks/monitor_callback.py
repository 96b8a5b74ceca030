"""Base class of the callbacks that watch one metric."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback
from callboard._core.checks import ConfigurationWarning
from callboard._core.errors import DataError, MetricNotFoundError
from callboard._core.monitor import Best, check_mode, check_threshold, direction
from callboard.callbacks.arguments import number, text

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["MonitorCallback"]

_NO_VALIDATION = "no validation data was given; pass "
_TO_FIT = "validation_data= or validation_split= to fit"
_ADDED_LATER = (
    "If a callback of yours adds it, give its class `order = -10`, and `adds = ({!r},)` if it does "
    "not in every epoch"
)


class MonitorCallback(Callback):
    """Watches one metric of the epoch logs; subclass it and ask ``improved(logs)``.

    Args:
        monitor: Name of the metric in the epoch logs.
        mode: "min" if lower is better, "max" if higher is, "auto" to know it from the metric.
        baseline: A value that has to be beaten, taken as the best so far; or None.
        min_delta: An improvement is a change by more than this, in the metric's unit.

    Attributes:
        best: The best value so far, or None.
        monitor_op: Function of two values that says whether the first is better.

    Raises:
        UnknownNameError: If ``mode`` is not one of the three.
        ConfigurationError: If ``min_delta`` is not a finite number, or another argument is not what
            it has to be; before the first epoch, if the
            direction of the metric cannot be known.
        MetricNotFoundError: If the metric cannot come up, as early as that shows.

    Example:
        >>> class Cheer(MonitorCallback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         if self.improved(logs):
        ...             print(f"epoch {epoch + 1}: new best {self.monitor} {self.best}")
        >>> from callboard.testing import ScriptedRun
        >>> _ = ScriptedRun([0.5, 0.6, 0.4], monitor="val_loss").play(Cheer("val_loss"))
        epoch 1: new best val_loss 0.5
        epoch 3: new best val_loss 0.4

    Source: Keras 3.15 ``MonitorCallback``.
    """

    adds: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        baseline: float | None = None,
        min_delta: float = 0.0,
    ) -> None:
        check_mode(mode)
        check_threshold(baseline, "baseline")
        self.monitor = text(monitor, "monitor")
        self.mode = mode
        self._baseline = baseline
        self._watched = Best("max" if mode == "max" else "min", min_delta, baseline)
        self._seen = False
        self._warned = False

    @property
    def best(self) -> float | None:
        """The best value so far."""
        return self._watched.value

    @best.setter
    def best(self, value: float | None) -> None:
        self._watched.value = value

    @property
    def min_delta(self) -> float:
        """What a change must exceed to be an improvement."""
        return self._watched.min_delta

    @min_delta.setter
    def min_delta(self, change: float) -> None:
        self._watched.min_delta = abs(number(change, "min_delta"))

    @property
    def monitor_op(self) -> Callable[[float, float], bool]:
        """Return a function that says whether its first value is better than its second."""
        return self._watched.improves

    def check(self) -> None:
        """Check whether the run can have the metric at all, and find its direction."""
        run = self.run
        base = self.monitor.removeprefix("val_")
        if run.validation is False and base != self.monitor and base in (run.metrics or {}):
            raise MetricNotFoundError(self.monitor, run.metrics or (), self._no_validation())
        names = run.metric_names
        if names is not None and self.monitor not in names:
            raise MetricNotFoundError(self.monitor, names, f"({type(self).__name__} monitors it)")
        if self.mode == "auto":
            self._watched.mode = direction(self.monitor, run.metrics)

    def monitored(self, logs: Mapping[str, Any] | None) -> float | None:
        """Return the metric's value, or None if this epoch rightly did not produce it.

        Raises:
            MetricNotFoundError: If the epoch should have produced it.
            DataError: If the value is not one number.
        """
        value = (logs or {}).get(self.monitor)
        if value is None:
            self._explain_absence(logs or {})
            return None
        if not isinstance(value, float):
            raise DataError(
                f"{type(self).__name__} monitors {self.monitor!r}, which is {value!r}; "
                "a monitored metric must be one number"
            )
        self._seen = True
        return value

    def improved(self, logs: Logs | None) -> bool:
        """Record the metric's value if it improves on the best; say if it did."""
        value = self.monitored(logs)
        return value is not None and self._watched.update(value)

    def _explain_absence(self, logs: Mapping[str, Any]) -> None:
        if self._seen or self._is_promised():
            return
        if self.run.validation is False and self.monitor.startswith("val_"):
            raise MetricNotFoundError(self.monitor, logs, self._no_validation())
        if self.monitor.startswith("val_") and not self.run.validated:
            if not self._warned and self.run.validation is None:
                self._warned = True
                warnings.warn(
                    f"{type(self).__name__} monitors {self.monitor!r}, but there was no validation "
                    f"in epoch {self.run.progress.epoch + 1}; epochs without one are not counted",
                    ConfigurationWarning,
                    stacklevel=2,
                )
            return
        host = "" if logs else self.run.metrics_by
        hint = f"nothing is evaluated; pass {host}" if host else _ADDED_LATER.format(self.monitor)
        there = [name for name, value in logs.items() if value is not None]
        raise MetricNotFoundError(self.monitor, there, hint)

    def _is_promised(self) -> bool:
        """Say whether a callback has declared that it adds the metric, in whichever epochs."""
        return any(self.monitor in (getattr(c, "adds", None) or ()) for c in self.run.callbacks)

    def _no_validation(self) -> str:
        return _NO_VALIDATION + (self.run.metrics_by or _TO_FIT)

    def reset(self) -> None:
        """Forget the best value of the run before."""
        self._watched.value = self._baseline
        self._seen = self._warned = False

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, and what it is of."""
        return {
            "best": self.best,
            "seen": self._seen,
            "monitor": self.monitor,
            "mode": self._watched.mode,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``; not with the best value of another metric."""
        super().load_state_dict(state)
        if self._is_of_this_metric(state):
            self.best = state["best"]
            self._seen = state["seen"]
            return
        warnings.warn(
            f"{type(self).__name__} monitored {state['monitor']!r} ({state['mode']}) before, and "
            f"monitors {self.monitor!r} ({self.mode}) now, so it begins anew",
            ConfigurationWarning,
            stacklevel=2,
        )

    def _is_of_this_metric(self, state: Mapping[str, Any]) -> bool:
        """Say whether a state is of the metric that is watched now, and of its direction."""
        monitor, mode = state.get("monitor", self.monitor), state.get("mode", self.mode)
        return monitor == self.monitor and self.mode in ("auto", mode)
