"""Stop when a metric stops improving."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from callboard._core.checks import ConfigurationWarning
from callboard._core.monitor import Patience, check_threshold, short, stalled
from callboard._core.trainable import check_state
from callboard.callbacks.arguments import flag, verbosity, whole
from callboard.callbacks.monitor_callback import MonitorCallback
from callboard.callbacks.reduce_lr_on_plateau import ReduceLROnPlateau

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["EarlyStopping"]


class EarlyStopping(MonitorCallback):
    """Stop training when ``monitor`` has not improved for ``patience`` epochs.

    An epoch counts as improved if the metric beats the best so far by more than ``min_delta``; NaN
    and infinities never do. An epoch that does not produce the metric is not counted.

    Args:
        monitor: Name of the metric in the epoch logs.
        min_delta: Smallest change that counts, in the metric's unit; a change of exactly this much
            does not.
        patience: Epochs without improvement before the stop; 0 acts as 1.
        verbose: 1 prints what is decided.
        mode: "min" if lower is better, "max" if higher is, "auto" to know it from the metric.
        baseline: If given, an epoch counts as improved only if it beats this too.
        restore_best_weights: When training ends, by itself or by request, put back the weights of
            the best epoch. They are kept in host memory, once.
        start_from_epoch: Epochs before this one (from 0) are not looked at.

    Attributes:
        best: The best value so far.
        best_epoch: Its epoch, from 0.
        best_weights: The weights of that epoch by name, or None.
        wait: Epochs since the last improvement.
        stopped_epoch: The epoch (from 0) after which training was stopped; 0 if it was not.

    Raises:
        ConfigurationError: For a negative patience or start_from_epoch, or a min_delta that is not
            finite, or a baseline that is NaN.
        MetricNotFoundError: If the metric cannot come up, as early as that shows.
        UnsupportedError: For ``restore_best_weights`` in a run without a model.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> run = ScriptedRun([0.9, 0.7, 0.8, 0.8, 0.8], monitor="val_loss")
        >>> run.play(EarlyStopping(patience=2)).journal
        epoch 4, step 4: EarlyStopping stopped: val_loss did not improve on 0.7 for 2 epochs

    Source: Keras 3.15 ``EarlyStopping``: same decisions but those listed in docs/differences.md.
    """

    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        check_threshold(baseline, "baseline")
        self.verbose = verbosity(verbose)
        self.baseline = baseline
        self.restore_best_weights = flag(restore_best_weights, "restore_best_weights")
        self.start_from_epoch = whole(start_from_epoch, "start_from_epoch")
        self.best_weights: dict[str, Any] | None = None
        self._weights_lent = False  # to a state_dict, which must not change afterwards
        self.best_epoch = 0
        self.stopped_epoch = 0
        self._patience = Patience(patience)

    @property
    def patience(self) -> int:
        """Epochs without improvement before the stop."""
        return self._patience.limit

    @patience.setter
    def patience(self, limit: int) -> None:
        self._patience = Patience(limit, self._patience.waited)

    @property
    def wait(self) -> int:
        """Epochs since the last improvement."""
        return self._patience.waited

    @wait.setter
    def wait(self, epochs: int) -> None:
        self._patience.waited = epochs

    def get_monitor_value(self, logs: Logs | None) -> float | None:
        """Return the metric's value; None if this epoch rightly did not produce it."""
        return self.monitored(logs)

    def check(self) -> None:
        """Check that the metric can come up, and that a plateau is acted on before the end."""
        super().check()
        if self.restore_best_weights:
            _ = self.run.trainable.weights  # a run without a model says so
            check_state(self.run.trainable, weights_only=True)
        for other in self.run.callbacks:
            if (
                isinstance(other, ReduceLROnPlateau)
                and other.monitor == self.monitor
                and self.patience <= other.patience
            ):
                warnings.warn(
                    f"EarlyStopping(patience={self.patience}) stops before "
                    f"ReduceLROnPlateau(patience={other.patience}) can lower the learning rate, as "
                    f"both watch {self.monitor}; give EarlyStopping the larger patience",
                    ConfigurationWarning,
                    stacklevel=2,
                )

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the metric; ask for the end if the patience is exhausted."""
        value = self.monitored(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        improved = self._watched.update(value)
        if self.restore_best_weights and (improved or self.best_weights is None):
            # The first weights are kept even if NaN: there is nothing better to go back to.
            into = None if self._weights_lent else self.best_weights
            self.best_weights = self.run.trainable.weights(into=into)
            self._weights_lent = False
            self.best_epoch = epoch
        if improved:
            self.best_epoch = epoch
        beats_baseline = self.baseline is None or self._watched.improves(value, self.baseline)
        if self._patience.update(improved=improved and beats_baseline):
            self.stopped_epoch = epoch
            reason = stalled(self.monitor, self._target(), self.wait)
            self.run.stop(reason)
            say = f"Epoch {epoch + 1}: early stopping" if self.verbose else ""
            self.run.decide(self, "stopped", reason, say=say)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put the best weights back."""
        if not self.restore_best_weights or self.best_weights is None:
            return
        self.run.trainable.set_weights(self.best_weights)
        text = f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}."
        self.run.decide(
            self,
            "restored",
            f"best {self.monitor} {short(self.best)} was in epoch {self.best_epoch + 1}",
            say=text if self.verbose else "",
        )

    def _target(self) -> float | None:
        """Return what had to be beaten."""
        if self.baseline is None or self.best is None:
            return self.best if self.baseline is None else self.baseline
        return self.best if self._watched.improves(self.best, self.baseline) else self.baseline

    def reset(self) -> None:
        """Forget the run before."""
        super().reset()
        self._patience.waited = 0
        self.best_weights = None
        self.best_epoch = 0
        self.stopped_epoch = 0

    def state_dict(self) -> dict[str, Any]:
        """Return best value, epoch and weights, and how long there was no improvement."""
        self._lend()
        return {
            **super().state_dict(),
            "wait": self.wait,
            "best_epoch": self.best_epoch,
            "best_weights": self.best_weights,
            "stopped_epoch": self.stopped_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        if not self._is_of_this_metric(state):
            return
        self.wait = state["wait"]
        self.best_epoch = state["best_epoch"]
        weights = state["best_weights"]
        self.best_weights = weights and {name: np.array(array) for name, array in weights.items()}
        self._lend()
        self.stopped_epoch = state["stopped_epoch"]

    def _lend(self) -> None:
        """Let others hold the best weights: better ones go to other arrays."""
        self._weights_lent = self.best_weights is not None
        for array in (self.best_weights or {}).values():
            array.flags.writeable = False
