"""What every metric is: a state that batches are added to, and a result."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from callboard._core import metric as core

__all__ = ["Metric", "Result", "results_of"]

Result = Array | float


class Metric(core.Metric):
    """A number that sums up many batches. Its state stays on the device of the data.

    Subclass it with ``update_state`` and ``result``; declare the state with ``add_state`` and add
    to it with ``accumulate``, which makes new arrays, so that a result somebody holds stays what
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
        ...         error = jnp.abs((y_true - y_pred)).max()
        ...         self.largest = jnp.maximum(error, self.largest)
        ...     def result(self):
        ...         return self.largest
        >>> metric = Largest()
        >>> metric.update_state(jnp.array([1.0, 2.0]), jnp.array([1.5, 2.0]))
        >>> metric.update_state(jnp.array([3.0]), jnp.array([3.0]))
        >>> metric.name, metric.result()
        ('largest_error', Array(0.5, dtype=float32))

    Source: Keras 3.15 ``keras.metrics.Metric``; ``add_state`` instead of ``add_variable``.
    """

    def state_dict(self) -> dict[str, Array]:
        """Return the state by name. The arrays are not changed by later batches."""
        return {name: jnp.asarray(getattr(self, name)) for name in self._initial}

    def initial_state(self) -> dict[str, Result]:
        """Return the state before the first batch."""
        return dict(self._initial)


def results_of(metric: Metric) -> dict[str, Result]:
    """Return a metric's results by the names they have in the logs, each a single number.

    Raises:
        DataError: If a result is not a single number.

    Example:
        >>> from callboard.jax.metrics import Mean
        >>> mean = Mean("speed")
        >>> mean.update_state([1.0, 2.0])
        >>> results_of(mean)
        {'speed': Array(1.5, dtype=float32)}
    """
    return core.single_numbers(metric, Array)
