"""The best of one rate where another one is high enough."""

from __future__ import annotations

from abc import abstractmethod

import jax.numpy as jnp
from jax import Array

from callboard._core.errors import ConfigurationError
from callboard._core.monitor import Mode
from callboard._core.objective_arguments import fraction, spaced
from callboard.jax.metrics.decisions import ratio
from callboard.jax.metrics.histogram import Counts, Histogram
from callboard.jax.metrics.metric import Metric, Result

__all__ = [
    "PrecisionAtRecall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
]


class _PointOnCurve(Metric):
    """The best of one rate where another one is at least a given value."""

    direction: Mode | None = "max"
    histogram: Result

    def __init__(
        self, least: float, what: str, num_thresholds: int, class_id: int | None, name: str | None
    ) -> None:
        super().__init__(name)
        if num_thresholds < 1:
            raise ConfigurationError(f"num_thresholds must be at least 1; got {num_thresholds!r}")
        self._least = fraction(least, what)
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        single = num_thresholds == 1
        self._buckets = Histogram([0.5] if single else spaced(num_thresholds, 0.0, 1.0))
        self.add_state("histogram")

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: 0 or 1, shape (batch,) or (batch, ...).
            y_pred: Probabilities; same shape.
            sample_weight: One weight for each sample.
        """
        counts = self._buckets.counts(y_true, y_pred, sample_weight, class_id=self.class_id)
        self.accumulate(histogram=counts)

    def result(self) -> Result:
        """Return the best rate, 0 if no threshold fulfills the condition."""
        if not isinstance(self.histogram, Array) or not self.histogram.ndim:
            return 0.0
        condition, rate = self._rates(self._buckets.by_threshold(self.histogram))
        return jnp.where(condition >= self._least, rate, 0.0).max()

    @abstractmethod
    def _rates(self, counts: Counts) -> tuple[Array, Array]:
        """Return the rate under the condition, and the one that is looked for."""


class SensitivityAtSpecificity(_PointOnCurve):
    """Best recall of class 1 where that of class 0 is high enough.

    Args:
        specificity: The least specificity that is high enough, from 0 to 1.
        num_thresholds: Number of thresholds that are tried, evenly spaced.
        class_id: Look at one class only, an index of the last axis.
        name: Name in the logs.

    Raises:
        ConfigurationError: If ``specificity`` is not between 0 and 1.

    Example:
        >>> SensitivityAtSpecificity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
        Array(0.5, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.SensitivityAtSpecificity``.
    """

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(specificity, "specificity", num_thresholds, class_id, name)
        self.specificity = specificity

    def _rates(self, counts: Counts) -> tuple[Array, Array]:
        return ratio(counts.tn, counts.tn + counts.fp), ratio(counts.tp, counts.tp + counts.fn)


class SpecificityAtSensitivity(_PointOnCurve):
    """Best recall of class 0 where that of class 1 is high enough.

    Args:
        sensitivity: The least sensitivity that is high enough, from 0 to 1.
        num_thresholds: Number of thresholds that are tried, evenly spaced.
        class_id: Look at one class only, an index of the last axis.
        name: Name in the logs.

    Raises:
        ConfigurationError: If ``sensitivity`` is not between 0 and 1.

    Example:
        >>> SpecificityAtSensitivity(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
        Array(0.6666667, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.SpecificityAtSensitivity``.
    """

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(sensitivity, "sensitivity", num_thresholds, class_id, name)
        self.sensitivity = sensitivity

    def _rates(self, counts: Counts) -> tuple[Array, Array]:
        return ratio(counts.tp, counts.tp + counts.fn), ratio(counts.tn, counts.tn + counts.fp)


class PrecisionAtRecall(_PointOnCurve):
    """Best precision where the recall is high enough.

    Args:
        recall: The least recall that is high enough, from 0 to 1.
        num_thresholds: Number of thresholds that are tried, evenly spaced.
        class_id: Look at one class only, an index of the last axis.
        name: Name in the logs.

    Raises:
        ConfigurationError: If ``recall`` is not between 0 and 1.

    Example:
        >>> PrecisionAtRecall(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
        Array(0.5, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.PrecisionAtRecall``.
    """

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(recall, "recall", num_thresholds, class_id, name)
        self.recall = recall

    def _rates(self, counts: Counts) -> tuple[Array, Array]:
        return ratio(counts.tp, counts.tp + counts.fn), ratio(counts.tp, counts.tp + counts.fp)


class RecallAtPrecision(_PointOnCurve):
    """Best recall where the precision is high enough.

    Args:
        precision: The least precision that is high enough, from 0 to 1.
        num_thresholds: Number of thresholds that are tried, evenly spaced.
        class_id: Look at one class only, an index of the last axis.
        name: Name in the logs.

    Raises:
        ConfigurationError: If ``precision`` is not between 0 and 1.

    Example:
        >>> RecallAtPrecision(0.5)([0, 0, 0, 1, 1], [0.0, 0.3, 0.8, 0.3, 0.8])
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.RecallAtPrecision``.
    """

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(precision, "precision", num_thresholds, class_id, name)
        self.precision = precision

    def _rates(self, counts: Counts) -> tuple[Array, Array]:
        return ratio(counts.tp, counts.tp + counts.fp), ratio(counts.tp, counts.tp + counts.fn)
