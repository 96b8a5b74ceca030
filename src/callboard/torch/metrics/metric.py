"""What every metric is: a state that batches are added to, and a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from callboard._core import metric as core

__all__ = ["Metric", "Result", "results_of"]

Result = Tensor | float


class Metric(core.Metric):
    """A number that sums up many batches. Its state stays on the device of the data.

    Subclass it with ``update_state`` and ``result``; declare the state with ``add_state`` and add
    to it with ``accumulate``, which makes new tensors, so that a result somebody holds stays what
    it was. ``reset_state``, ``state_dict`` and ``load_state_dict`` then work by themselves.

    Args:
        name: Name in the logs; by default the class's in snake case.

    Attributes:
        direction: "min" if lower is better, "max" if higher is, None if that is not known.

    Example:
        >>> class Largest(Metric):
        ...     direction = "min"
        ...     def __init__(self, name="largest_error"):
        ...         super().__init__(name)
        ...         self.add_state("largest")
        ...     def update_state(self, y_true, y_pred, sample_weight=None):
        ...         error = (y_true - y_pred).abs().max()
        ...         self.largest = error.clamp(min=self.largest)
        ...     def result(self):
        ...         return self.largest
        >>> metric = Largest()
        >>> metric.update_state(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 2.0]))
        >>> metric.update_state(torch.tensor([3.0]), torch.tensor([3.0]))
        >>> metric.name, metric.result()
        ('largest_error', tensor(0.5000))

    Source: Keras 3.15 ``keras.metrics.Metric``; ``add_state`` instead of ``add_variable``.
    """

    def accumulate(self, **amounts: Result) -> None:
        """Add to parts of the state, without gradients and not in place."""
        for name, amount in amounts.items():
            state = getattr(self, name)
            if isinstance(amount, Tensor):
                amount = amount.detach()  # noqa: PLW2901 - the same amount
                if isinstance(state, Tensor) and state.device != amount.device:
                    state = state.to(amount.device)
            setattr(self, name, state + amount)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state by name. The tensors are not changed by later batches."""
        return {name: torch.as_tensor(getattr(self, name)) for name in self._initial}

    def full_state(self) -> dict[str, Any]:
        """Return the state with the types it has: a number that is no tensor yet stays one."""
        if type(self).state_dict is Metric.state_dict:
            return {name: getattr(self, name) for name in self._initial}
        return dict(self.state_dict())

    def restore_full(self, state: Mapping[str, Any]) -> None:
        """Continue from ``full_state()``."""
        self.load_state_dict(state)


def results_of(metric: Metric) -> dict[str, Result]:
    """Return a metric's results by the names they have in the logs, each a single number.

    Raises:
        DataError: If a result is not a single number.

    Example:
        >>> from callboard.torch.metrics import Mean
        >>> mean = Mean("speed")
        >>> mean.update_state([1.0, 2.0])
        >>> results_of(mean)
        {'speed': tensor(1.5000)}
    """
    return core.single_numbers(metric, Tensor)
