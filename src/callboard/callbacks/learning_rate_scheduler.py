"""Set the learning rate at the beginning of every epoch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError
from callboard._core.logs import plain
from callboard.callbacks.arguments import verbosity

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["LearningRateScheduler"]


class LearningRateScheduler(Callback):
    """Set the learning rate to ``schedule(epoch, lr)`` at the beginning of every epoch.

    The epoch logs get ``learning_rate``, the rate that the epoch was trained with.

    Args:
        schedule: Function of the epoch (from 0) and the current rate that returns the new rate;
            or of the epoch alone. Which of the two is told from its signature.
        verbose: 1 prints the rate of every epoch.

    Raises:
        ConfigurationError: If ``schedule`` is not such a function; at the beginning of an epoch, if
            it returns something else than a finite number of 0 or more.
        UnsupportedError: In a run without an optimizer.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> def halve_every_second_epoch(epoch, lr):
        ...     return lr * 0.5 if epoch and epoch % 2 == 0 else lr
        >>> run = ScriptedRun([0.9] * 5, learning_rate=1.0)
        >>> run.play(LearningRateScheduler(halve_every_second_epoch)).history["learning_rate"]
        [1.0, 1.0, 0.5, 0.5, 0.25]

    Source: Keras 3.15 ``LearningRateScheduler``, which takes floats only and calls the schedule a
        second time after any TypeError in it.
    """

    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbosity(verbose)
        self._takes_rate = _takes_rate(schedule)
        self.rate_control: Literal["", "sets", "scales"] = "scales" if self._takes_rate else "sets"

    def check(self) -> None:
        """Check that there is a learning rate to set."""
        _ = self.run.learning_rate

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Ask the schedule and set the rate."""
        old = self.run.learning_rate
        given = self.schedule(epoch, old) if self._takes_rate else self.schedule(epoch)
        rate = _rate(given, epoch)
        if rate == old:
            return self._say(epoch, rate)
        self.run.learning_rate = rate
        self.run.decide(self, "set", f"schedule({epoch}): learning rate {old:g} -> {rate:g}")
        return self._say(epoch, rate)

    def _say(self, epoch: int, rate: float) -> None:
        if self.verbose:
            self.run.print(
                f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}."
            )


def _takes_rate(schedule: object) -> bool:
    """Tell ``schedule(epoch, lr)`` from ``schedule(epoch)``."""
    if not callable(schedule):
        raise ConfigurationError(
            f"schedule must be a function of (epoch, lr) or (epoch); got {schedule!r}"
        )
    try:
        signature = inspect.signature(schedule)
    except ValueError:  # some built-in functions have no signature
        return False
    for arguments, takes_rate in (((0, 0.0), True), ((0,), False)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return takes_rate
    raise ConfigurationError(
        f"schedule must take (epoch, lr) or (epoch); {schedule!r} takes {signature}"
    )


def _rate(given: Any, epoch: int) -> float:
    rate = plain(given)
    if isinstance(given, bool) or not isinstance(rate, float) or not 0 <= rate < math.inf:
        raise ConfigurationError(
            f"the schedule returned {given!r} for epoch {epoch}; "
            "it must return a finite number, 0 or more"
        )
    return rate
