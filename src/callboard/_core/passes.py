"""Passes over data, each a training epoch, an evaluation or a prediction; they may be nested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter
from typing import Any, Literal

from callboard._core.dispatch import CallbackList
from callboard._core.errors import RunStateError
from callboard._core.logs import Logs, Means
from callboard._core.samples import sample_count

__all__ = ["Pass", "Passes", "Purpose"]

Purpose = Literal["train", "test", "predict"]

_METHODS: dict[Purpose, str] = {"train": "train", "test": "validate", "predict": "predict"}


class Pass:
    """The state of one pass; passes nest when a loop validates between two training batches.

    Args:
        kind: What the pass is for; names its hooks.
        callbacks: Who is told.
        means: Sums to go on with, of an epoch that takes several passes.
        batch: Batches done by earlier passes of the epoch.

    Attributes:
        item: What the loop's body is working on, or None between two items.
        steps: Batches that the body said it did with the item; 0 if it has not said anything.
        reported: Returns the metrics of a loop that keeps its own.
        outer: The pass this one interrupts.
        left: The loop over this pass was left by ``break``.
    """

    __slots__ = (
        "_samples",
        "batch",
        "begin_batch",
        "callbacks",
        "end_batch",
        "item",
        "kind",
        "left",
        "means",
        "outer",
        "reported",
        "sleeper",
        "steps",
    )

    def __init__(
        self, kind: Purpose, callbacks: CallbackList, means: Means | None = None, batch: int = 0
    ) -> None:
        self.kind = kind
        self.callbacks = callbacks
        self.means = Means() if means is None else means
        self.batch = batch
        self.item: Any = None
        self.steps = 0
        self._samples = 0
        self.reported: Callable[[], Logs] | None = None
        self.outer: Pass | None = None
        self.left = False
        self.begin_batch = callbacks.hook(f"on_{kind}_batch_begin")
        self.end_batch = callbacks.hook(f"on_{kind}_batch_end")
        self.sleeper: Any = callbacks.sleeper(f"on_{kind}_batch_end")

    def begin(self) -> None:
        """Call the hook for the beginning; a training pass has none but its epoch's."""
        if self.kind == "test":
            self.callbacks.on_test_begin(Logs())
        elif self.kind == "predict":
            self.callbacks.on_predict_begin(Logs())

    def took(self, steps: int, samples: int) -> None:
        """Note how much the loop's body did with the item; the largest of several notes counts."""
        self.steps = max(self.steps, steps)
        self._samples = max(self._samples, samples)

    def count(self) -> tuple[int, int]:
        """Count the item as done; return how many steps and samples it was."""
        steps = self.steps or 1
        samples = self._samples or sample_count(self.item)
        self.steps = self._samples = 0
        self.item = None
        self.batch += steps
        return steps, samples

    def logs(self) -> Logs:
        """Return the metrics of the pass so far."""
        return self.means.logs() if self.reported is None else self.reported()


class Passes:
    """The passes that are open, the innermost one first.

    Args:
        samples: Receives the first item of the latest pass of each kind.
        counted: Called when an item is done, with its pass, steps and samples.
        finished: Called when a pass is over.
        is_over: Asked after every item whether its pass is to end early.
    """

    def __init__(
        self,
        *,
        samples: dict[Purpose, Any],
        counted: Callable[[Pass, int, int], None],
        finished: Callable[[Pass], None],
        is_over: Callable[[Pass], bool],
    ) -> None:
        self._samples = samples
        self._counted = counted
        self._finished = finished
        self._is_over = is_over
        self._innermost: Pass | None = None

    def iterate(self, data: Iterable[Any], current: Pass) -> Iterator[Any]:
        """Yield the items of data between the hooks of a pass; this is the hot path."""
        training = current.kind == "train"
        self.close(keep_training=not training)
        current.outer, self._innermost = self._innermost, current
        current.begin()
        for item in data:
            current.item = item
            if not current.batch:
                self._samples[current.kind] = item
            if current.begin_batch is not None:
                current.begin_batch(current.batch, Logs())
            try:
                yield item
            except GeneratorExit:
                current.left = True
                raise
            if self._innermost is not current:
                self._return_to(current)
            self._end_batch(current)
            if self._is_over(current):
                break
        self.close(keep_training=not training, last=current)

    def current(self, method: str) -> Pass:
        """Return the pass that is being worked on.

        Raises:
            RunStateError: If there is none; it names the ``method`` that was called.
        """
        current = self._innermost
        while current is not None and current.left and current.outer is not None:
            self._close_innermost(current)  # a validation inside an epoch, left by break
            current = self._innermost
        if current is None:
            raise RunStateError(
                f"run.{method}(...) belongs inside the loop over run.train() or validate()"
            )
        return current

    def close(self, *, keep_training: bool = False, last: Pass | None = None) -> None:
        """Finish the passes that are still open, each with its last batch if that has logged.

        Args:
            keep_training: A training pass that goes on after a validation inside it stays open.
            last: Close no further than this one.
        """
        while self._innermost is not None:
            current = self._innermost
            if keep_training and current.kind == "train" and not current.left:
                return
            self._close_innermost(current)
            if current is last:
                return

    def forget(self) -> None:
        """Leave the open passes as they are, after an error."""
        self._innermost = None

    def _close_innermost(self, current: Pass) -> None:
        if current.item is not None and current.steps:
            self._end_batch(current)
        self._innermost = current.outer
        self._finished(current)

    def _end_batch(self, current: Pass) -> None:
        """Count what the loop's body did with an item, and call the end hook."""
        steps, samples = current.count()
        self._counted(current, steps, samples)
        if current.end_batch is not None and (
            current.sleeper is None or perf_counter() >= current.sleeper.wakes_at_s
        ):
            current.end_batch(current.batch - 1, current.logs())

    def _return_to(self, current: Pass) -> None:
        """Close what was begun inside a pass, when its loop goes on."""
        outer = self._innermost
        while outer is not None and outer is not current:
            outer = outer.outer
        if outer is None:
            raise RunStateError(
                f"this loop over run.{_METHODS[current.kind]}() was ended by another that began "
                "meanwhile; loops may be nested, and may not take turns"
            )
        while self._innermost is not None and self._innermost is not current:
            self._close_innermost(self._innermost)
