"""The metrics of every epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback
from callboard._core.errors import RunStateError

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

    figure_of: ClassVar[Callable[..., Any] | None] = None
    """What draws a history; the package's front door sets it."""

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

    def plot(self, title: str = "") -> Any:
        """Draw the metrics: training and validation in one panel each, the best epoch marked.

        Args:
            title: Text above the panels.

        Returns:
            A figure of matplotlib, which a notebook shows: ``figure.savefig("curves.png")``.

        Raises:
            UnsupportedError: If matplotlib is not installed: ``pip install 'callboard[plot]'``.
            DataError: If there is no epoch yet, or a metric is not one number.

        Example:
            >>> import callboard
            >>> from callboard.testing import ScriptedRun
            >>> played = ScriptedRun({"loss": [0.9, 0.5], "val_loss": [0.9, 0.6]}).play()
            >>> [axes.get_title(loc="left") for axes in played.run.history.plot().axes]
            ['loss']
        """
        draw = type(self).figure_of
        if draw is None:
            raise RunStateError("import callboard before a history is drawn")
        return draw(self.history, self.epoch, title)

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
