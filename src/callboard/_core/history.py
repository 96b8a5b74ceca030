"""The metrics of every epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["History"]


class History(Callback):
    """Keeps the metrics of every epoch; every run has one, and ``fit`` returns it.

    Attributes:
        epoch: The epochs that ended, from 0.
        history: For each metric its values, one for every epoch in ``epoch``; NaN stands for an
            epoch that did not produce it, so that all lists have the same length.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> ScriptedRun([0.5, 0.25], monitor="loss").play().history
        {'loss': [0.5, 0.25]}

    Source: Keras 3.15 ``History``, with lists that stay aligned with the epochs.
    """

    order: ClassVar[int] = 20
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def reset(self) -> None:
        """Start anew, so that an object used again does not mix two runs."""
        self.epoch = []
        self.history = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the epoch's metrics."""
        done = len(self.epoch)
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, [math.nan] * done).append(value)
        for values in self.history.values():
            if len(values) <= done:
                values.append(math.nan)

    def state_dict(self) -> dict[str, Any]:
        """Return epochs and metrics."""
        return {
            "epoch": list(self.epoch),
            "history": {name: list(values) for name, values in self.history.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        self.epoch = list(state["epoch"])
        self.history = {name: list(values) for name, values in state["history"].items()}
