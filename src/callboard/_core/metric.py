"""What the metrics of every framework are: a state that batches are added to, and a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from callboard._core.errors import DataError
from callboard._core.monitor import Mode
from callboard._core.names import snake_case

__all__ = ["Metric", "single_numbers"]


class Metric(ABC):
    """Names, direction and state of a metric; a framework's ``Metric`` adds how arrays add up.

    Args:
        name: Name in the logs; by default the class's in snake case.
    """

    direction: Mode | None = None

    def __init__(self, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self._initial: dict[str, Any] = {}

    def add_state(self, name: str, initial: Any = 0) -> None:
        """Declare the attribute ``name`` as part of the state.

        Args:
            name: The attribute.
            initial: Its value before the first batch. The number 0 takes the shape, type and
                device of the first amount that is added to it.
        """
        self._initial[name] = initial
        setattr(self, name, initial)

    def accumulate(self, **amounts: Any) -> None:
        """Add to parts of the state, not in place."""
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) + amount)

    @abstractmethod
    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch: ``update_state(y_true, y_pred, sample_weight=None)``.

        Some metrics take other arguments (``Mean`` takes values), therefore any are allowed.
        """

    @abstractmethod
    def result(self) -> Any:
        """Return the metric of all batches so far: a 0-d array, a number or a dict of them."""

    def reset_state(self) -> None:
        """Forget all batches."""
        for name, initial in self._initial.items():
            setattr(self, name, initial)

    def directions(self) -> dict[str, Mode | None]:
        """Return for each name in the logs whether lower or higher is better."""
        return {self.name: self.direction}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return the state by name, as arrays of the framework."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If the names are not those of this metric's state.
        """
        if set(state) != set(self._initial):
            raise DataError(
                f"the state of the metric {self.name!r} has the parts {sorted(self._initial)}; "
                f"got {sorted(state)}. It was saved by another metric"
            )
        for name in self._initial:
            setattr(self, name, state[name])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and return the result so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def single_numbers(metric: Metric, array: type) -> dict[str, Any]:
    """Return a metric's results by the names they have in the logs.

    Args:
        metric: The metric.
        array: The framework's type of arrays, of which a result may be one without axes.

    Raises:
        DataError: If a result is not a single number.
    """
    result = metric.result()
    results = result if isinstance(result, Mapping) else {metric.name: result}
    for name, value in results.items():
        shape = tuple(getattr(value, "shape", ()))
        if shape or not isinstance(value, array | int | float):
            what = f"has shape {shape}" if shape else f"is a {type(value).__name__}"
            raise DataError(
                f"the result of the metric {name!r} {what}, and logs hold single numbers; ask for "
                "one (average='macro', a single threshold), or return one from result()"
            )
    return dict(results)
