"""Show how far training has come."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback
from callboard.callbacks.displays import Display, suitable_display
from callboard.callbacks.progress_line import ProgressLine

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["ProgbarLogger"]

_REDRAW_S = 0.1


class ProgbarLogger(Callback):
    """Show progress: live on a terminal and in a notebook, one line an epoch elsewhere.

    Every run with ``verbose`` other than 0 has one. With ``verbose=2`` it is one line an epoch
    everywhere. It is redrawn ten times a second at most, and only then are metrics read.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> _ = ScriptedRun([0.5], monitor="loss", verbose=2).play()  # doctest: +ELLIPSIS
        Epoch 1/1 - 1/1 - 0s - ...us/step - loss: 0.5000

    Source: Keras 3.15 ``ProgbarLogger`` and ``Progbar``.
    """

    order: ClassVar[int] = 30
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(self) -> None:
        self._display: Display | None = None
        self._began_s = self._next_draw_s = 0.0
        self._done_before = 0  # batches of the epoch, before the run was interrupted

    def check(self) -> None:
        """Find out where to draw; without live drawing, a batch costs nothing."""
        self._display = suitable_display(self.params["verbose"]) if self.params["verbose"] else None
        for hook in ("on_train_batch_end", "on_test_batch_end", "on_predict_batch_end"):
            self.__dict__.pop(hook, None)
        if self._display is not None and self._display.live:
            purpose = self.run.purpose
            setattr(self, f"on_{purpose}_batch_end", self._draw_if_due)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin the epoch's line."""
        self._begin(f"Epoch {epoch + 1}/{self.params['epochs']}")

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the line of an epoch that goes on in the middle."""
        super().load_state_dict(state)
        if self._run is not None and self._run.in_epoch:
            self._begin(f"Epoch {self.run.progress.epoch + 1}/{self.params['epochs']}")
            self._done_before = self.run.progress.batch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Show the epoch's final line."""
        self._end(self.run.progress.batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Begin a line, unless this is the validation inside an epoch."""
        if self.run.purpose == "test":
            self._begin("")

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Show the final line of an evaluation of its own."""
        if self.run.purpose == "test":
            self._end(self.run.batches, logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Begin a line."""
        self._begin("")

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Show the final line."""
        self._end(self.run.batches, None)

    def close(self) -> None:
        """Leave the screen in order."""
        if self._display is not None:
            self._display.close()

    def _begin(self, title: str) -> None:
        self._began_s = time.perf_counter()
        self._done_before = 0
        self._next_draw_s = 0.0
        if self._display is not None:
            self._display.begin(title)

    def _draw_if_due(self, batch: int, logs: Logs | None = None) -> None:
        now = time.perf_counter()
        if now < self._next_draw_s:
            return
        self._next_draw_s = now + _REDRAW_S
        if self._display is not None:
            outputs = self.run.purpose == "predict"  # and no metrics
            self._display.draw(self._measured(batch + 1, None if outputs else logs, now))

    def _end(self, done: int, logs: Logs | None) -> None:
        if self._display is not None:
            self._display.end(self._measured(done, logs, time.perf_counter()))

    def _measured(self, done: int, logs: Logs | None, now: float) -> ProgressLine:
        elapsed = now - self._began_s
        return ProgressLine(
            done,
            self.run.steps,
            elapsed,
            elapsed / max(done - self._done_before, 1),
            dict(logs or {}),
        )
