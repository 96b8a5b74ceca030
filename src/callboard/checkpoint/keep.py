"""Which checkpoints to keep: rules that combine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from callboard._core.errors import ConfigurationError
from callboard._core.monitor import Mode, check_mode, direction

__all__ = ["Best", "Checkpoint", "Rule", "best", "every", "last", "superseded", "surplus"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of a checkpoint without reading its arrays.

    Attributes:
        name: Name of its folder in the store.
        number: Counts the saves of the store; the largest is the newest.
        step: Training steps done.
        epoch: Epochs done.
        metrics: The metrics it was saved with.
        time_s: When it was saved, in seconds since 1970.

    Example:
        >>> Checkpoint("step-00000500", number=1, step=500, epoch=2, metrics={"loss": 0.5}).epoch
        2
    """

    name: str
    number: int
    step: int
    epoch: int
    metrics: dict[str, float] = field(default_factory=dict)
    time_s: float = 0.0


Rule = Callable[[Sequence[Checkpoint]], Iterable[Checkpoint]]
"""Returns those to keep of the checkpoints there are, oldest first."""


def last(count: int = 1) -> Rule:
    """Keep the newest ones.

    Args:
        count: How many.

    Raises:
        ConfigurationError: If that is none.

    Example:
        >>> saved = [Checkpoint(f"step-{n}", number=n, step=n, epoch=0) for n in range(5)]
        >>> [checkpoint.step for checkpoint in surplus(saved, [last(2)])]
        [0, 1, 2]
    """
    if count < 1:
        raise ConfigurationError(f"last({count!r}): keep at least 1, the newest")
    return lambda saved: saved[-count:]


def best(count: int, monitor: str, mode: str = "auto") -> Best:
    """Keep those with the best values of a metric; of equal ones the older.

    Args:
        count: How many.
        monitor: Name of the metric. Checkpoints without it, or where it is NaN, are not kept.
        mode: "min" if lower is better, "max" if higher is, "auto" to know it from the name.

    Raises:
        UnknownNameError: If ``mode`` is none of these.
        ConfigurationError: If ``count`` is none, or the direction cannot be known from the name.

    Example:
        >>> losses = [0.5, 0.3, 0.4]
        >>> saved = [Checkpoint(f"c{n}", n, n, 0, {"loss": loss}) for n, loss in enumerate(losses)]
        >>> [checkpoint.step for checkpoint in surplus(saved, [best(1, "loss")])]  # not the newest
        [0]
    """
    if count < 1:
        raise ConfigurationError(f"best({count!r}, ...): keep at least 1")
    return Best(count, monitor, _direction(monitor, mode))


@dataclass(frozen=True, slots=True)
class Best:
    """What ``best`` returns.

    Attributes:
        count: How many to keep.
        monitor: Name of the metric.
        mode: Whether lower or higher is better.
    """

    count: int
    monitor: str
    mode: Mode

    def __call__(self, saved: Sequence[Checkpoint]) -> list[Checkpoint]:
        """Return the best checkpoints, best first, of equal ones the older first."""
        having = [checkpoint for checkpoint in saved if self._cost(checkpoint) < math.inf]
        return sorted(having, key=lambda c: (self._cost(c), c.number))[: self.count]

    def prefers(self, one: Checkpoint, other: Checkpoint) -> bool:
        """Say whether one checkpoint is better than another."""
        return self._cost(one) < self._cost(other)

    def _cost(self, checkpoint: Checkpoint) -> float:
        """Return what is the lower the better; of a checkpoint without the metric, infinity."""
        value = checkpoint.metrics.get(self.monitor, math.nan)
        if not math.isfinite(value):
            return math.inf
        return -value if self.mode == "max" else value


def every(*, epochs: int = 0, steps: int = 0, seconds: float = 0.0) -> Rule:
    """Keep one of every so many epochs, steps or seconds, for ever: the first after each.

    Args:
        epochs: Keep one of so many epochs,
        steps: or of so many training steps,
        seconds: or of so many seconds.

    Raises:
        ConfigurationError: If not exactly one period is given, and positive.

    Example:
        >>> saved = [Checkpoint(f"step-{n}", number=n, step=n, epoch=0) for n in range(1, 8)]
        >>> [checkpoint.step for checkpoint in surplus(saved, [every(steps=3)])]  # not the newest
        [1, 2, 4, 5]
    """
    given = [period for period in (epochs, steps, seconds) if period]
    if len(given) != 1 or given[0] < 0:
        raise ConfigurationError(
            "every() takes one positive period: every(epochs=5), every(steps=1000) or "
            f"every(seconds=3600); got epochs={epochs!r}, steps={steps!r}, seconds={seconds!r}"
        )

    def firsts(saved: Sequence[Checkpoint]) -> Iterable[Checkpoint]:
        found: dict[float, Checkpoint] = {}
        for checkpoint in saved:
            if seconds:
                period = (checkpoint.time_s - saved[0].time_s) // seconds + 1
            else:
                period = checkpoint.epoch // epochs if epochs else checkpoint.step // steps
            if period:  # before the first period is over nothing is due
                found.setdefault(period, checkpoint)
        return found.values()

    return firsts


def superseded(saved: Sequence[Checkpoint], rules: Sequence[Rule] = ()) -> list[Checkpoint]:
    """Return the checkpoints, oldest first, whose step was saved again since.

    Not those of which more is known, and not those that are better by a ``best`` rule: a save at an
    interruption has no metrics, and a run that began anew may be worse.
    """
    newest = {checkpoint.step: checkpoint for checkpoint in saved}
    return [each for each in saved if _replaces(newest[each.step], each, rules)]


def _replaces(new: Checkpoint, old: Checkpoint, rules: Sequence[Rule]) -> bool:
    if new is old or not old.metrics.keys() <= new.metrics.keys():
        return False
    return not any(rule.prefers(old, new) for rule in rules if isinstance(rule, Best))


def surplus(saved: Sequence[Checkpoint], rules: Sequence[Rule]) -> list[Checkpoint]:
    """Return the checkpoints that no rule keeps, oldest first; the newest is always kept.

    Without rules every checkpoint is kept.
    """
    if not rules:
        return []
    ordered = sorted(saved, key=lambda checkpoint: checkpoint.number)
    kept = {checkpoint.name for rule in rules for checkpoint in rule(ordered)}
    return [checkpoint for checkpoint in ordered[:-1] if checkpoint.name not in kept]


def _direction(monitor: str, mode: str) -> Mode:
    check_mode(mode)
    if mode == "auto":
        return direction(monitor, None)
    return "max" if mode == "max" else "min"
