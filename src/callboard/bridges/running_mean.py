"""The mean of a metric over an epoch, where a host shows it batch by batch."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import torch

from callboard._core.logs import Mean, Means, plain

__all__ = ["RunningMean"]

_FOLD = 64


class RunningMean:
    """The mean of a value over the samples of an epoch so far.

    Values in the host's memory are added up at once, those on a device when they are asked for,
    many together: keeping one costs a batch much less than adding to a sum on a device does.

    Args:
        name: What the value is called in an error.

    Attributes:
        is_finite: Whether there was no NaN or infinity, as far as is known without a wait.

    Example:
        >>> mean = RunningMean("loss")
        >>> mean.add(1.0, samples=32)
        >>> mean.add(torch.tensor(4.0), samples=16)
        >>> float(mean.so_far())
        2.0
    """

    __slots__ = ("_name", "_on_device", "_total", "_waiting", "_weight", "is_finite")

    def __init__(self, name: str) -> None:
        self._name = name
        self.is_finite = True
        self._total = 0.0
        self._weight = 0
        self._on_device: Any = None  # sum of those that were on a device
        self._waiting: list[tuple[torch.Tensor, int]] = []

    def add(self, value: Any, samples: int) -> None:
        """Add a batch's value, a number or a 0-d array.

        Raises:
            DataError: At the first value, if that is neither.
        """
        if not self._weight:
            Means().add({self._name: value}, samples)
        self._weight += samples
        if type(value) is not float:
            if isinstance(value, torch.Tensor) and not value.is_cpu:
                self._waiting.append((value.detach(), samples))
                if len(self._waiting) >= _FOLD:
                    self._fold()
                return
            value = plain(value)
        self._total = total = self._total + value * samples
        self.is_finite = total - total == 0.0

    def so_far(self) -> Mean:
        """Return the mean so far, not yet read; later values do not change it."""
        if self._waiting:
            self._fold()
        total = self._total if self._on_device is None else self._on_device + self._total
        return Mean(total, self._weight)

    def _fold(self) -> None:
        """Add up what waits, with one operation for all batches of a size."""
        for samples, group in groupby(self._waiting, key=itemgetter(1)):
            values = torch.stack([value.reshape(()) for value, _ in group])
            term = values.float().sum() * samples  # 16-bit sums would stop growing
            self._on_device = term if self._on_device is None else self._on_device + term
        self._waiting.clear()
