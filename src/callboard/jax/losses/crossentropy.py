"""Cross-entropy for targets that are probabilities, on probabilities or on logits."""

from __future__ import annotations

import copy
from typing import Self

import jax
import jax.numpy as jnp
from jax import Array

from callboard._core.errors import ConfigurationError
from callboard._core.objective_arguments import fraction
from callboard.jax.losses.loss import (
    EPSILON,
    Activation,
    Loss,
    Reduction,
    aligned,
    elementwise,
)

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Classification",
    "binary_crossentropy",
    "binary_values",
    "categorical_crossentropy",
    "clipped",
    "normalized",
    "smoothed",
]


def binary_crossentropy(
    y_true: Array,
    y_pred: Array,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """Return the cross-entropy of independent yes-no decisions, averaged over ``axis``.

    Args:
        y_true: 0 or 1, or probabilities, shape (batch, ...) or (batch,).
        y_pred: Probabilities of 1, or logits; same shape.
        from_logits: Whether ``y_pred`` has not gone through a sigmoid.
        label_smoothing: From 0 to 1; draws the targets towards 0.5.
        axis: Axis to average over.

    Example:
        >>> binary_crossentropy(jnp.array([1, 0]), jnp.array([0.5, 0.25]))
        Array([0.6931472 , 0.28768206], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    y_true = _between(y_true, label_smoothing)
    return binary_values(y_true, y_pred, from_logits=from_logits).mean(axis)


def categorical_crossentropy(
    y_true: Array,
    y_pred: Array,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """Return the cross-entropy of one-hot or soft targets.

    Args:
        y_true: Probability of each class, shape (batch, ..., classes).
        y_pred: Probabilities (scaled to a sum of 1) or logits; same shape.
        from_logits: Whether ``y_pred`` has not gone through a softmax.
        label_smoothing: From 0 to 1; draws the targets towards 1 / classes.
        axis: Axis of the classes.

    Example:
        >>> categorical_crossentropy(jnp.array([[0, 1]]), jnp.array([[0.75, 0.25]]))
        Array([1.3862944], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred)
    y_true = smoothed(y_true, label_smoothing, axis)
    logs = jax.nn.log_softmax(y_pred, axis) if from_logits else _log_probabilities(y_pred, axis)
    return -(y_true * logs).sum(axis)


def clipped(probabilities: Array) -> Array:
    """Return probabilities kept away from 0 and 1, so that logarithms are finite."""
    return jnp.clip(probabilities, EPSILON, 1.0 - EPSILON)


def _log_probabilities(y_pred: Array, axis: int) -> Array:
    return jnp.log(clipped(normalized(y_pred, axis)))


def normalized(probabilities: Array, axis: int) -> Array:
    """Return probabilities scaled to a sum of 1."""
    return probabilities / probabilities.sum(axis, keepdims=True)


def smoothed(y_true: Array, label_smoothing: float, axis: int) -> Array:
    """Return one-hot targets drawn towards equal probabilities."""
    if not label_smoothing:
        return y_true
    return y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[axis]


def _between(y_true: Array, label_smoothing: float) -> Array:
    return y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else y_true


def binary_values(y_true: Array, y_pred: Array, *, from_logits: bool) -> Array:
    """Return the binary cross-entropy of every element."""
    if from_logits:
        return jnp.maximum(y_pred, 0.0) - y_pred * y_true + jnp.log1p(jnp.exp(-jnp.abs(y_pred)))
    probabilities = clipped(y_pred)
    return (y_true - 1.0) * jnp.log1p(-probabilities) - y_true * jnp.log(probabilities)


class Classification(Loss):
    """What the losses of classifiers share: they take probabilities, or logits instead."""

    _activation: Activation

    def __init__(
        self, name: str, reduction: Reduction | None, *, from_logits: bool, axis: int
    ) -> None:
        super().__init__(name, reduction)
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ConfigurationError(f"axis must be an int, the axis of the classes; got {axis!r}")
        self.from_logits = bool(from_logits)
        self.axis = axis
        self.links = None if from_logits else self._activation

    def on_logits(self) -> Self | None:
        """Return a copy with ``from_logits=True``, or None if this one takes logits already."""
        if self.from_logits:
            return None
        twin = copy.copy(self)
        twin.from_logits = True
        twin.links = None
        return twin


class BinaryCrossentropy(Classification):
    """Cross-entropy of yes-no decisions, for targets 0 and 1 and a sigmoid at the end.

    Args:
        from_logits: Whether predictions have not gone through a sigmoid.
        label_smoothing: From 0 to 1; draws the targets towards 0.5.
        axis: Axis to average over.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> loss = BinaryCrossentropy()
        >>> loss(jnp.array([1, 0]), jnp.array([0.5, 0.25])), loss.links
        (Array(0.49041462, dtype=float32), 'sigmoid')

    Source: Keras 3.15 ``keras.losses.BinaryCrossentropy``.
    """

    _activation = "sigmoid"

    def __init__(
        self,
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "binary_crossentropy",
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, axis=axis)
        self.label_smoothing = fraction(label_smoothing, "label_smoothing")

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``binary_crossentropy``."""
        return binary_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )


class CategoricalCrossentropy(Classification):
    """Cross-entropy of a classifier, for one-hot or soft targets and a softmax at the end.

    Args:
        from_logits: Whether predictions have not gone through a softmax.
        label_smoothing: From 0 to 1; draws the targets towards 1 / classes.
        axis: Axis of the classes.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> CategoricalCrossentropy()(jnp.array([[0, 1]]), jnp.array([[0.75, 0.25]]))
        Array(1.3862944, dtype=float32)

    Source: Keras 3.15 ``keras.losses.CategoricalCrossentropy``.
    """

    _activation = "softmax"

    def __init__(
        self,
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "categorical_crossentropy",
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, axis=axis)
        self.label_smoothing = fraction(label_smoothing, "label_smoothing")

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``categorical_crossentropy``."""
        return categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )
