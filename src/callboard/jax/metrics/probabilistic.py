"""Losses of classifiers and distributions as metrics."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from callboard._core.monitor import Mode
from callboard.jax import losses
from callboard.jax.losses.loss import weights_like
from callboard.jax.metrics.mean import MeanMetric, sum_and_count
from callboard.jax.metrics.metric import Result

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "Hinge",
    "KLDivergence",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
]


class BinaryCrossentropy(MeanMetric):
    """Mean cross-entropy of yes-no decisions.

    Args:
        name: Name in the logs.
        from_logits: Whether predictions have not gone through a sigmoid.
        label_smoothing: From 0 to 1; draws the targets towards 0.5.

    Example:
        >>> BinaryCrossentropy()([1, 0], [0.5, 0.25])
        Array(0.49041462, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.BinaryCrossentropy``.
    """

    direction: Mode | None = "min"

    def __init__(
        self,
        name: str = "binary_crossentropy",
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(name)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``binary_crossentropy``."""
        return losses.binary_crossentropy(y_true, y_pred, self.from_logits, self.label_smoothing)


class CategoricalCrossentropy(MeanMetric):
    """Mean cross-entropy for one-hot or soft targets.

    Args:
        name: Name in the logs.
        from_logits: Whether predictions have not gone through a softmax.
        label_smoothing: From 0 to 1; draws the targets towards 1 / classes.
        axis: Axis of the classes.

    Example:
        >>> CategoricalCrossentropy()([[0, 1]], [[0.75, 0.25]])
        Array(1.3862944, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.CategoricalCrossentropy``.
    """

    direction: Mode | None = "min"

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(name)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``categorical_crossentropy``."""
        return losses.categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )


class SparseCategoricalCrossentropy(MeanMetric):
    """Mean cross-entropy for class numbers as targets.

    Args:
        name: Name in the logs.
        from_logits: Whether predictions have not gone through a softmax.
        ignore_class: A class whose elements do not count.
        axis: Axis of the classes in the predictions.

    Example:
        >>> SparseCategoricalCrossentropy()([1], [[0.75, 0.25]])
        Array(1.3862944, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.SparseCategoricalCrossentropy``. The ignored class never
        counts; in Keras its elements count as 0 unless there are sample weights.
    """

    direction: Mode | None = "min"

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(name)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``sparse_categorical_crossentropy``."""
        return losses.sparse_categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis
        )

    def batch_sum(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> tuple[Array, Result]:
        """Return the sum and the count of a batch, without the ignored class."""
        values = self.values(y_true, y_pred)
        if self.ignore_class is None:
            return sum_and_count(values, sample_weight)
        counted = (jnp.asarray(y_true) != self.ignore_class).reshape(values.shape)
        weight = counted.astype(values.dtype)
        if sample_weight is not None:
            weight = weight * weights_like(values, sample_weight)
        return sum_and_count(values, weight)


class KLDivergence(MeanMetric):
    """Mean Kullback-Leibler divergence of predicted from true probabilities.

    Args:
        name: Name in the logs.

    Example:
        >>> KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]])
        Array(0.14384104, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.KLDivergence``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "kl_divergence") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``kl_divergence``."""
        return losses.kl_divergence(y_true, y_pred)


class Poisson(MeanMetric):
    """Mean of y_pred - y_true log(y_pred).

    Args:
        name: Name in the logs.

    Example:
        >>> Poisson()([[1.0]], [[1.0]])
        Array(0.9999999, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.Poisson``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "poisson") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``poisson``."""
        return losses.poisson(y_true, y_pred)


class Hinge(MeanMetric):
    """Mean of max(0, 1 - y_true y_pred), for targets -1 and 1, or 0 and 1.

    Args:
        name: Name in the logs.

    Example:
        >>> Hinge()([[0.0], [1.0]], [[0.5], [0.5]])
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.Hinge``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "hinge") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``hinge``."""
        return losses.hinge(y_true, y_pred)


class SquaredHinge(MeanMetric):
    """Mean of max(0, 1 - y_true y_pred)², for targets -1 and 1, or 0 and 1.

    Args:
        name: Name in the logs.

    Example:
        >>> SquaredHinge()([[0.0], [1.0]], [[0.5], [0.5]])
        Array(1.25, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.SquaredHinge``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "squared_hinge") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``squared_hinge``."""
        return losses.squared_hinge(y_true, y_pred)


class CategoricalHinge(MeanMetric):
    """Mean of max(0, wrong - right + 1) over samples, for one-hot targets.

    Args:
        name: Name in the logs.

    Example:
        >>> CategoricalHinge()([[0.0, 1.0]], [[0.25, 0.75]])
        Array(0.5, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.CategoricalHinge``.
    """

    direction: Mode | None = "min"

    def __init__(self, name: str = "categorical_hinge") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``categorical_hinge``."""
        return losses.categorical_hinge(y_true, y_pred)
