"""Loss and metrics of one pass over data, summed up on the device."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from callboard._core.logs import Logs, Mean
from callboard._core.samples import sample_count
from callboard.torch.metrics import MeanMetric, Metric
from callboard.torch.objectives import Objectives, Outcome

if TYPE_CHECKING:
    from callboard.torch.data import Batch
    from callboard.torch.model import Model

__all__ = ["Scores"]


class Scores:
    """Sums of loss and metrics; nothing is read from the device until somebody reads the logs.

    Args:
        objectives: What ``compile`` was given.
    """

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self._sums: dict[str, Mean] = {}
        self._metrics: dict[str, Any] = {}

    def reset(self) -> None:
        """Begin anew."""
        self._sums = {}
        self._metrics = {}

    def test(self, model: Model, batch: Batch) -> int:
        """Evaluate a batch and add it; return its samples."""
        outcome = self._objectives.outcome(model.forward, batch)
        return self.add(batch, outcome)

    def add(self, batch: Batch, outcome: Outcome) -> int:
        """Add the loss and metrics of a batch; return its samples."""
        samples = sample_count(batch.x)
        for name, loss in outcome.losses.items():
            self._add(name, torch.mul(loss.detach(), samples), samples)
        return samples
