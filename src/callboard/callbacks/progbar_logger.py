"""Show how far training has come."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback
from callboard.callbacks.displays import Display, Style, check_style, suitable_display
from callboard.callbacks.progress_line import ProgressLine

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["ProgbarLogger"]

_HOOKS = ("on_train_batch_end", "on_test_batch_end", "on_predict_batch_end")


class ProgbarLogger(Callback):
    """Show progress: live on a terminal and in a notebook, plain lines elsewhere.

    Every run with ``verbose`` other than 0 has one. It is redrawn ten times a second at most, and
    only then are metrics read. In files and logs it is one line an epoch, and one a minute in
    epochs that take longer. With ``verbose=2`` it is one line an epoch everywhere.

    Args:
        style: "auto" for what suits the program's output; "terminal", "notebook", "lines" to have
            it one way wherever it goes; "tqdm" for bars by tqdm, which has to be installed.

    Raises:
        UnknownNameError: For another style.
        UnsupportedError: Before the first batch, if a package that the style needs is missing.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> _ = ScriptedRun([0.5], monitor="loss", verbose=2).play()  # doctest: +ELLIPSIS
        Epoch 1/1 - 1/1 - 0s - ...s/step - loss: 0.5000

    Source: Keras 3.15 ``ProgbarLogger`` and ``Progbar``; ``style`` is ours.
    """

    order: ClassVar[int] = 30
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(self, *, style: Style = "auto") -> None:
        check_style(style)
        self.style = style
        self._display: Display | None = None
        self._every_s = 0.0
        self.wakes_at_s: float = 0.0
        self._pass = _Timed()
        self._validation: _Timed | None = None
        self._line = ProgressLine()
        self._usual_steps: int | None = None  # of the epoch before, where no length is known

    def check(self) -> None:
        """Find out where to draw; without drawing, a batch costs nothing."""
        verbose = self.params["verbose"]
        self._display = suitable_display(verbose, self.style) if verbose else None
        self._usual_steps = None
        for hook in _HOOKS:
            self.__dict__.pop(hook, None)
        if self._display is not None and self._display.every_s is not None:
            self._every_s = self._display.every_s
            setattr(self, f"on_{self.run.purpose}_batch_end", self._draw_if_due)
            if self.run.purpose == "train":
                setattr(self, "on_test_batch_end", self._draw_validation_if_due)  # noqa: B010

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin the epoch's line."""
        self._begin(self._title(epoch))

    def _title(self, epoch: int) -> str:
        """Return what an epoch's line begins with; of how many, unless a host ends otherwise."""
        of = self.params["epochs"]
        return f"Epoch {epoch + 1}/{of}" if of else f"Epoch {epoch + 1}"

    def state_dict(self) -> dict[str, Any]:
        """Return how long an epoch is, where only that shows."""
        return {"steps": self._usual_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin the line of an epoch that goes on in the middle."""
        super().load_state_dict(state)
        self._usual_steps = state.get("steps")
        if self._run is not None and self._run.in_epoch:
            at = self.run.progress
            self._begin(self._title(at.epoch), at.batch)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Show the epoch's final line."""
        self._end(self.run.progress.batch, logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Begin a line; for the validation inside an epoch, one below the epoch's."""
        if self.run.purpose == "test":
            self._begin("")
        elif self.run.in_epoch:
            self._validation = _Timed()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Show the final line of an evaluation; leave out the time of a validation."""
        if self.run.purpose == "test":
            self._end(self.run.batches, logs)
        elif self._validation is not None:
            self._pass.paused_s += self._validation.elapsed_s
            self._validation = None

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Begin a line."""
        if self.run.purpose == "predict":
            self._begin("")

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Show the final line."""
        if self.run.purpose == "predict":
            self._end(self.run.batches, None)

    def close(self) -> None:
        """Leave the screen in order."""
        if self._display is not None:
            self._show(self._display.close)

    def _begin(self, title: str, done: int = 0) -> None:
        self._validation = None
        self._pass = _Timed(done)
        self._line = ProgressLine(done, self._steps, begun_at=done)
        if self._display is not None:
            self.wakes_at_s = self._pass.began_s + self._display.first_s
            self._show(self._display.begin, title)
            if done:
                self._show(self._display.draw, self._line)

    def _draw_if_due(self, batch: int, logs: Logs | None = None) -> None:
        now = time.perf_counter()
        if now < self.wakes_at_s:
            return
        outputs = self.run.purpose == "predict"  # and no metrics
        metrics = {} if outputs else dict(logs or {})
        self._line = self._pass.line(batch + 1, self._steps, metrics, now)
        self._draw(now)

    def _draw_validation_if_due(self, batch: int, logs: Logs | None = None) -> None:
        now = time.perf_counter()
        if now < self.wakes_at_s or self._validation is None:
            return
        run = self.run
        # What the epoch has come to since it was drawn last.
        so_far = {**self._line.metrics, **run.logs}
        stood = self._validation.began_s
        self._line = self._pass.line(run.progress.batch, self._steps, so_far, stood)
        metrics = {f"val_{name}": value for name, value in (logs or {}).items()}
        line = self._validation.line(batch + 1, run.validation_steps, metrics, now)
        line.label = "validation"
        self._draw(now, line)

    def _draw(self, now: float, validation: ProgressLine | None = None) -> None:
        self.wakes_at_s = now + self._every_s
        if self._display is not None:
            self._show(self._display.draw, self._line, validation)

    def _end(self, done: int, logs: Logs | None) -> None:
        self._usual_steps = done
        if self._display is not None:
            now = time.perf_counter()
            line = self._pass.line(done, self.run.steps, dict(logs or {}), now)
            line.step_s = self._pass.step_s(done, now)
            self._show(self._display.end, line)

    def _show(self, act: Callable[..., None], *arguments: Any) -> None:
        """Act on the display; a terminal that was closed does not end a training."""
        try:
            act(*arguments)
        except OSError:
            display, self._display = self._display, None
            self.wakes_at_s = math.inf
            if display is not None:
                with contextlib.suppress(OSError):
                    display.close()

    @property
    def _steps(self) -> int | None:
        return self.run.steps or self._usual_steps


class _Timed:
    """A pass over data, and its clock.

    Args:
        done: Batches that were done before the run was interrupted.
    """

    def __init__(self, done: int = 0) -> None:
        self.began_s = time.perf_counter()
        self.paused_s = 0.0  # taken by validations inside it
        self._done_before = done
        self._first: tuple[int, float] | None = None
        self._step_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.began_s

    def line(
        self, done: int, total: int | None, metrics: Mapping[str, Any], now: float
    ) -> ProgressLine:
        """Return the line; as in Keras, the first batch does not count in the time of a step."""
        worked_s = now - self.began_s - self.paused_s
        if self._first is None:
            self._first = done, worked_s
            self._step_s = self.step_s(done, now)
        elif done > self._first[0]:
            self._step_s = (worked_s - self._first[1]) / (done - self._first[0])
        return ProgressLine(
            done, total, now - self.began_s, self._step_s, metrics, begun_at=self._done_before
        )

    def step_s(self, done: int, now: float) -> float:
        """Return the mean time of a step."""
        return (now - self.began_s - self.paused_s) / max(done - self._done_before, 1)
