"""Losses and metrics of PyTorch for the outputs of a module."""

from __future__ import annotations

from typing import Any

from callboard._core import objectives
from callboard._core.objectives import Head
from callboard.torch.losses import resolve_loss
from callboard.torch.metrics import resolve_metric

__all__ = ["Head", "Objectives"]


class Objectives(objectives.Objectives):
    """The core's objectives, with the names of ``callboard.torch``.

    Args:
        loss: A loss, or a list or dict of losses for several outputs.
        loss_weights: Factors, nested as the losses.
        metrics: Metrics, or for several outputs a list or dict of lists of metrics.
        weighted_metrics: As metrics; sample weights apply to them.
    """

    def __init__(
        self, loss: Any, loss_weights: Any = None, metrics: Any = (), weighted_metrics: Any = ()
    ) -> None:
        super().__init__(
            loss,
            loss_weights,
            metrics,
            weighted_metrics,
            resolve_loss=resolve_loss,
            resolve_metric=resolve_metric,
        )
