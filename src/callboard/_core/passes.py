"""One pass over data: a training epoch, an evaluation or a prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from callboard._core.dispatch import CallbackList
from callboard._core.logs import Logs, Means
from callboard._core.samples import sample_count

__all__ = ["Pass", "Purpose"]

Purpose = Literal["train", "test", "predict"]


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
