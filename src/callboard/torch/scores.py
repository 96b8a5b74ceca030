"""Loss and metrics of one pass over data, summed up on the device."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from callboard._core.batches import Batch
from callboard._core.errors import DataError
from callboard._core.logs import Logs, Mean
from callboard._core.samples import sample_count
from callboard.torch.arrays import widened
from callboard.torch.forward import Outcome
from callboard.torch.metrics import MeanMetric, Metric, results_of
from callboard.torch.objectives import Head, Objectives

__all__ = ["Scores"]


class Scores:
    """Sums of loss and metrics. Nothing is read from the device until somebody reads the logs.

    Args:
        objectives: What ``compile`` was given; its metrics are copied.
    """

    def __init__(self, objectives: Objectives) -> None:
        self._heads = objectives.heads
        self._metrics = [
            [(m, False) for m in copy.deepcopy(head.metrics)]
            + [(m, True) for m in copy.deepcopy(head.weighted_metrics)]
            for head in self._heads
        ]
        self._loss_names = _loss_names(self._heads)
        self._means: list[tuple[str, MeanMetric]] = []
        self._others: list[tuple[str, Metric]] = []
        for head, metrics in zip(self._heads, self._metrics, strict=True):
            for metric, _ in metrics:
                if isinstance(metric, MeanMetric) and type(metric).result is MeanMetric.result:
                    self._means.append((head.prefix + metric.name, metric))
                else:
                    self._others.append((head.prefix, metric))
        self._losses: list[Tensor] = []
        self._samples = 0

    def reset(self) -> None:
        """Begin anew."""
        self._losses = []
        self._samples = 0
        for metrics in self._metrics:
            for metric, _ in metrics:
                metric.reset_state()

    def add(self, batch: Batch, outcome: Outcome) -> int:
        """Add the loss and metrics of a batch; return its samples."""
        samples = sample_count(batch.x)
        self.add_losses(outcome, samples)
        self._add_to_metrics(batch, outcome.predictions)
        return samples

    def _add_to_metrics(self, batch: Batch, predictions: Sequence[Tensor]) -> None:
        for head, metrics, prediction in zip(self._heads, self._metrics, predictions, strict=True):
            for metric, weighted in metrics:
                weight = head.weight_of(batch.sample_weight) if weighted else None
                metric.update_state(head.of(batch.y), prediction, weight)

    def add_execution(self, batches: list[Batch], losses: Tensor, predictions: list[Tensor]) -> int:
        """Add several batches of one size at once; return their samples.

        Args:
            batches: The batches.
            losses: Sums of their losses, total first, shape (losses,).
            predictions: The predictions of each head for all their samples.
        """
        samples = sample_count(batches[0].x)
        first, *parts = losses.unbind() if losses.ndim else [losses]
        self.add_losses(Outcome(first, tuple(parts), ()), samples)
        self._samples += samples * (len(batches) - 1)
        joined = Batch(None, *(_joined([b[i] for b in batches]) for i in (1, 2)))
        self._add_to_metrics(joined, predictions)
        return samples * len(batches)

    def add_losses(self, outcome: Outcome, samples: int) -> None:
        """Add the losses of a batch; the sums are new tensors, so that logs keep theirs."""
        parts = [outcome.loss, *outcome.parts] if len(self._loss_names) > 1 else [outcome.loss]
        losses = [part.detach() for part in parts]
        if self._losses:
            self._losses = [
                torch.add(total, loss, alpha=samples)
                for total, loss in zip(self._losses, losses, strict=True)
            ]
        else:
            self._losses = [widened(loss) * samples for loss in losses]
        self._samples += samples

    def state_dict(self) -> dict[str, Any]:
        """Return the sums as they are; later batches do not change them."""
        return {
            "losses": list(self._losses),
            "samples": self._samples,
            "metrics": [[metric.full_state() for metric, _ in head] for head in self._metrics],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If it is the state of other metrics.
        """
        self._losses = list(state["losses"])
        self._samples = state["samples"]
        try:
            for head, states in zip(self._metrics, state["metrics"], strict=True):
                for (metric, _), own in zip(head, states, strict=True):
                    metric.restore_full(own)
        except ValueError as error:
            raise DataError(
                "the saved run had other metrics; compile the model with the same, or begin anew "
                "in another folder"
            ) from error

    def logs(self) -> Logs:
        """Return the means so far, to be read when somebody reads them."""
        samples = self._samples
        values: dict[str, object] = {
            name: Mean(total, samples)
            for name, total in zip(self._loss_names, self._losses, strict=False)
        }
        for name, mean in self._means:
            values[name] = Mean(mean.total, mean.count)
        for prefix, metric in self._others:
            # A metric's sums are replaced and not changed, so a shallow copy keeps those of now.
            frozen = copy.copy(metric)
            values.update((prefix + name, _Deferred(frozen, name)) for name in metric.directions())
        return Logs(values)


def _joined(parts: Sequence[Any]) -> Any:
    """Return batches put one behind the other, nested as they are."""
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        return [_joined(column) for column in zip(*parts, strict=True)]
    return torch.cat(list(parts))


class _Deferred:
    """A metric's result that is computed when it is read, from the state as it was."""

    __slots__ = ("_metric", "_name")

    def __init__(self, metric: Metric, name: str) -> None:
        self._metric = metric
        self._name = name

    def __float__(self) -> float:
        return float(results_of(self._metric)[self._name])


def _loss_names(heads: tuple[Head, ...]) -> list[str]:
    names = [f"{head.prefix}loss" for head in heads if head.prefix and head.loss is not None]
    return ["loss", *names]
