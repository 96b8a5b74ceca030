"""The mean loss of an epoch, where a host shows the loss of each batch and nothing else."""

from __future__ import annotations

from typing import Any

from callboard._core.logs import Mean

__all__ = ["Losses"]

_FOLD = 64


class Losses:
    """Losses of the batches of an epoch so far, added up when they are asked for.

    Keeping one costs a batch much less than adding to a sum on a device does.
    """

    __slots__ = ("_latest", "_total", "_weight")

    def __init__(self) -> None:
        self._latest: list[tuple[Any, int]] = []
        self._total: Any = 0.0
        self._weight = 0

    def add(self, loss: Any, samples: int = 1) -> None:
        """Note a batch's loss, a number or a 0-d array that needs no gradient."""
        self._latest.append((loss, samples))
        if len(self._latest) >= _FOLD:
            self._fold()

    def logs(self) -> dict[str, Any]:
        """Return the mean over the samples so far, not yet read; nothing if there was none."""
        self._fold()
        return {"loss": Mean(self._total, self._weight)} if self._weight else {}

    def _fold(self) -> None:
        for loss, samples in self._latest:  # never in place: a mean that was handed out stays
            self._total = self._total + loss * samples
            self._weight += samples
        self._latest.clear()
