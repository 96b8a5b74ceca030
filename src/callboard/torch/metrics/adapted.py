"""Metrics of other makes under our interface: losses and torchmetrics."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from callboard._core.errors import ConfigurationError, DataError
from callboard._core.monitor import Mode
from callboard._core.names import snake_case
from callboard.torch.losses.loss import Loss, same_rank
from callboard.torch.metrics.mean import MeanMetric
from callboard.torch.metrics.metric import Metric

__all__ = ["LossMetric", "TorchMetric", "is_torchmetric"]


class LossMetric(MeanMetric):
    """A loss as a metric: its mean over samples.

    Args:
        loss: The loss.
        name: Name in the logs; by default the loss's.

    Example:
        >>> from callboard.torch.losses import Huber
        >>> metric = LossMetric(Huber(delta=2.0))
        >>> metric(torch.tensor([[0.0]]), torch.tensor([[1.0]])), metric.name
        (tensor(0.5000), 'huber_loss')
    """

    direction: Mode | None = "min"

    def __init__(self, loss: Loss, name: str | None = None) -> None:
        super().__init__(name or loss.name)
        self._loss = loss

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each sample.

        Raises:
            ConfigurationError: If the loss gives one value for a whole batch.
        """
        values = self._loss.per_sample(y_true, y_pred)
        if not values.ndim:
            raise ConfigurationError(
                f"the loss {self.name!r} gives a single value for a batch, so it cannot be a "
                "metric; use one with a value per sample"
            )
        return values


class TorchMetric(Metric):
    """A metric, or a collection of metrics, of the package torchmetrics.

    It is called in its own order, ``update(preds, target)``, on the device of the predictions. A
    last axis of length 1 is added to or removed from the targets where only one of both has it.

    Args:
        metric: The metric; its own object is used, not a copy.
        name: Name in the logs; by default its class's in snake case. The metrics of a collection
            have the names that the collection gives them.

    Example:
        >>> import torchmetrics
        >>> metric = TorchMetric(torchmetrics.MeanSquaredError())
        >>> metric.update_state(torch.tensor([1.0]), torch.tensor([3.0]))
        >>> metric.name, metric.result(), metric.direction
        ('mean_squared_error', tensor(4.), 'min')
    """

    def __init__(self, metric: Any, name: str | None = None) -> None:
        super().__init__(name or snake_case(type(metric).__name__))
        self._metric = metric
        self._several = not hasattr(metric, "higher_is_better")
        self.direction = None if self._several else _direction(metric)

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add a batch.

        Raises:
            ConfigurationError: If there are weights: torchmetrics has none.
        """
        if sample_weight is not None:
            raise ConfigurationError(
                f"the torchmetrics metric {self.name!r} takes no sample weights; pass it in "
                "metrics=, not in weighted_metrics="
            )
        if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1 != y_pred.shape[-1]:
            y_true = y_true.squeeze(-1)
        else:
            y_true, y_pred = same_rank(y_true, y_pred)
        for metric in self._members().values():
            if metric.device != y_pred.device:
                metric.to(y_pred.device)
        self._metric.update(y_pred.detach(), y_true)

    def result(self) -> Any:
        """Return what the metric computes, 0 before the first batch; a dict for a collection."""
        members = self._members()
        if not all(metric.update_count for metric in members.values()):
            return dict.fromkeys(members, 0.0) if self._several else 0.0
        return self._metric.compute()

    def reset_state(self) -> None:
        """Forget all batches."""
        self._metric.reset()

    def directions(self) -> dict[str, Mode | None]:
        """Return for each name in the logs whether lower or higher is better."""
        if not self._several:
            return {self.name: self.direction}
        return {name: _direction(metric) for name, metric in self._members().items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state of every metric by name, with the number of its updates."""
        state: dict[str, Tensor] = {}
        for name, metric in self._members().items():
            state[f"{name}.updates"] = torch.tensor(metric.update_count)
            for part, value in metric.metric_state.items():
                for key, tensor in _tensors(part, value):
                    # torchmetrics adds in place; what was saved must not change.
                    state[f"{name}.{key}"] = tensor.detach().clone()
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If parts are missing.
        """
        for name, metric in self._members().items():
            if f"{name}.updates" not in state:
                raise DataError(
                    f"the state of the metric {name!r} is missing; got {sorted(state)}. It was "
                    "saved by another metric"
                )
            metric.reset()
            for part, value in metric.metric_state.items():
                prefix = f"{name}.{part}"
                if isinstance(value, list):
                    setattr(metric, part, list(_listed(prefix, state)))
                else:
                    setattr(metric, part, state[prefix].clone())
            # Its own record of updates; compute() warns without them.
            metric._update_count = int(state[f"{name}.updates"])  # noqa: SLF001 - nothing public

    def __copy__(self) -> TorchMetric:
        # The states of torchmetrics are changed in place, and a copy of ours keeps its result.
        return TorchMetric(copy.deepcopy(self._metric), self.name)

    def _members(self) -> dict[str, Any]:
        return dict(self._metric.items()) if self._several else {self.name: self._metric}


def is_torchmetric(candidate: object) -> bool:
    """Say whether something has the methods of a torchmetrics metric or collection."""
    methods = ("update", "compute", "reset")
    return not isinstance(candidate, Metric) and all(
        callable(getattr(candidate, method, None)) for method in methods
    )


def _direction(metric: Any) -> Mode | None:
    higher = metric.higher_is_better
    return None if higher is None else "max" if higher else "min"


def _tensors(part: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield part, value
    else:
        for index, tensor in enumerate(value):
            yield f"{part}.{index}", tensor


def _listed(prefix: str, state: Mapping[str, Tensor]) -> Iterator[Tensor]:
    index = 0
    while f"{prefix}.{index}" in state:
        yield state[f"{prefix}.{index}"].clone()
        index += 1
