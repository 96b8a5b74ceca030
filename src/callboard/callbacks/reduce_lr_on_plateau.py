"""Lower the learning rate when a metric stops improving."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from callboard._core.errors import ConfigurationError
from callboard._core.monitor import Patience, stalled
from callboard.callbacks.arguments import number, verbosity, whole
from callboard.callbacks.monitor_callback import MonitorCallback

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["ReduceLROnPlateau"]


class ReduceLROnPlateau(MonitorCallback):
    """Multiply the learning rate by ``factor`` when ``monitor`` stops improving.

    An epoch counts as improved if the metric beats the best so far by more than ``min_delta``; NaN
    never does. During ``cooldown`` epochs after a cut nothing is counted. The epoch logs get
    ``learning_rate``, the rate that the epoch was trained with.

    Args:
        monitor: Name of the metric in the epoch logs.
        factor: New rate = old rate x factor, 0 < factor < 1.
        patience: Epochs without improvement before a cut; 0 acts as 1.
        verbose: 1 prints what is decided.
        mode: "min" if lower is better, "max" if higher is, "auto" to know it from the metric.
        min_delta: Smallest change that counts, in the metric's unit.
        cooldown: Epochs after a cut in which nothing is counted.
        min_lr: Lower bound of the learning rate.

    Attributes:
        best: The best value so far.
        wait: Epochs since the last improvement.
        cooldown_counter: Epochs of the cooldown that are left.

    Raises:
        ConfigurationError: If ``factor`` is not between 0 and 1, or an argument is negative.
        MetricNotFoundError: If the metric cannot come up, as early as that shows.
        UnsupportedError: In a run without an optimizer.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> run = ScriptedRun([0.9, 0.9, 0.9], monitor="val_loss", learning_rate=1.0)
        >>> run.play(ReduceLROnPlateau(patience=2, factor=0.5)).learning_rate
        0.5

    Source: Keras 3.15 ``ReduceLROnPlateau``: same decisions, but cooldown=N suppresses N epochs
        instead of N - 1.
    """

    adds: ClassVar[tuple[str, ...] | None] = ()
    rate_control: Literal["", "sets", "scales"] = "scales"

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        is_number = isinstance(factor, Real) and not isinstance(factor, bool)
        if not is_number or not 0.0 < factor < 1.0:
            raise ConfigurationError(
                f"factor must lie between 0 and 1, both excluded; got {factor!r}"
            )
        self.factor = factor
        self.verbose = verbosity(verbose)
        self.cooldown = whole(cooldown, "cooldown", unit="epochs")
        self.min_lr = number(min_lr, "min_lr", least=0.0)
        self.cooldown_counter = 0
        self._patience = Patience(patience)

    @property
    def patience(self) -> int:
        """Epochs without improvement before a cut."""
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

    def in_cooldown(self) -> bool:
        """Say whether the rate was cut so recently that nothing is counted."""
        return self.cooldown_counter > 0

    def check(self) -> None:
        """Check that the metric can come up and that there is a learning rate to lower."""
        super().check()
        _ = self.run.learning_rate

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the metric; cut the rate if the patience is exhausted."""
        value = self.monitored(logs)
        if value is None:
            return
        improved = self._watched.update(value)
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self._patience.waited = 0
        elif self._patience.update(improved=improved):
            self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        old = self.run.learning_rate
        new = max(old * self.factor, self.min_lr)
        if new >= old:  # at the lower bound already
            return
        self.run.learning_rate = new
        self.run.decide(
            self,
            "reduced",
            f"{stalled(self.monitor, self.best, self.wait)}: learning rate {old:g} -> {new:g}",
            say=f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}."
            if self.verbose
            else "",
        )
        self.cooldown_counter = self.cooldown
        self._patience.waited = 0

    def reset(self) -> None:
        """Forget the run before."""
        super().reset()
        self._patience.waited = 0
        self.cooldown_counter = 0

    def state_dict(self) -> dict[str, Any]:
        """Return best value, wait and cooldown; the rate itself belongs to the optimizer."""
        return {
            **super().state_dict(),
            "wait": self.wait,
            "cooldown_counter": self.cooldown_counter,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        if not self._is_of_this_metric(state):
            return
        self._patience.waited = state["wait"]
        self.cooldown_counter = state["cooldown_counter"]
