"""Focal losses: cross-entropy that looks away from what is already classified well."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from callboard._core.objective_arguments import fraction
from callboard.jax.losses.crossentropy import (
    Classification,
    binary_values,
    clipped,
    normalized,
    smoothed,
)
from callboard.jax.losses.loss import Reduction, aligned, elementwise

__all__ = [
    "BinaryFocalCrossentropy",
    "CategoricalFocalCrossentropy",
    "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
]


def binary_focal_crossentropy(
    y_true: Array,
    y_pred: Array,
    apply_class_balancing: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """Return binary cross-entropy times (1 - p)^gamma, p the probability of the right answer.

    Args:
        y_true: 0 or 1, or probabilities, shape (batch, ...) or (batch,).
        y_pred: Probabilities of 1, or logits; same shape.
        apply_class_balancing: Whether to weigh 1 by ``alpha`` and 0 by 1 - ``alpha``.
        alpha: That weight.
        gamma: How much less well-classified samples count; 0 gives the cross-entropy.
        from_logits: Whether ``y_pred`` has not gone through a sigmoid.
        label_smoothing: From 0 to 1; draws the targets towards 0.5.
        axis: Axis to average over.

    Example:
        >>> binary_focal_crossentropy(jnp.array([1, 0]), jnp.array([0.5, 0.25]))
        Array([0.1732868 , 0.01798013], dtype=float32)
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    if label_smoothing:
        y_true = y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        y_pred = jax.nn.sigmoid(y_pred)
    right = y_true * y_pred + (1.0 - y_true) * (1.0 - y_pred)
    values = jnp.power(1.0 - right, gamma) * binary_values(y_true, y_pred, from_logits=False)
    if apply_class_balancing:
        values = (y_true * alpha + (1.0 - y_true) * (1.0 - alpha)) * values
    averaged: Array = values.mean(axis)
    return averaged


def categorical_focal_crossentropy(
    y_true: Array,
    y_pred: Array,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """Return the sum over classes of alpha (1 - p)^gamma times the cross-entropy.

    Args:
        y_true: Probability of each class, shape (batch, ..., classes).
        y_pred: Probabilities (scaled to a sum of 1) or logits; same shape.
        alpha: Weight of every class, or one for each, last axis.
        gamma: How much less well-classified samples count.
        from_logits: Whether ``y_pred`` has not gone through a softmax.
        label_smoothing: From 0 to 1; draws the targets towards 1 / classes.
        axis: Axis of the classes.

    Example:
        >>> categorical_focal_crossentropy(jnp.array([[0, 1]]), jnp.array([[0.75, 0.25]]))
        Array([0.19494765], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred)
    y_true = smoothed(y_true, label_smoothing, axis)
    if from_logits:
        y_pred = jax.nn.softmax(y_pred, axis)
    output = clipped(normalized(y_pred, axis))
    values = jnp.power(1.0 - output, gamma) * (-y_true * jnp.log(output))
    if isinstance(alpha, int | float):
        return alpha * values.sum(axis)
    by_class = jnp.asarray(alpha, dtype=y_pred.dtype)
    return (by_class * values).sum(axis)


class BinaryFocalCrossentropy(Classification):
    """Binary cross-entropy that counts well-classified samples less.

    Args:
        apply_class_balancing: Whether to weigh class 1 by ``alpha`` and class 0 by 1 - ``alpha``.
        alpha: That weight.
        gamma: How much less well-classified samples count; 0 gives the cross-entropy.
        from_logits: Whether predictions have not gone through a sigmoid.
        label_smoothing: From 0 to 1; draws the targets towards 0.5.
        axis: Axis to average over.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> BinaryFocalCrossentropy()(jnp.array([1, 0]), jnp.array([0.5, 0.25]))
        Array(0.09563346, dtype=float32)

    Source: Keras 3.15 ``keras.losses.BinaryFocalCrossentropy``; Lin et al. 2017, arXiv:1708.02002.
    """

    _activation = "sigmoid"

    def __init__(
        self,
        apply_class_balancing: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, axis=axis)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma
        self.label_smoothing = fraction(label_smoothing, "label_smoothing")

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``binary_focal_crossentropy``."""
        return binary_focal_crossentropy(
            y_true,
            y_pred,
            self.apply_class_balancing,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
        )


class CategoricalFocalCrossentropy(Classification):
    """Categorical cross-entropy that counts well-classified samples less.

    Args:
        alpha: Weight of every class, or one for each.
        gamma: How much less well-classified samples count.
        from_logits: Whether predictions have not gone through a softmax.
        label_smoothing: From 0 to 1; draws the targets towards 1 / classes.
        axis: Axis of the classes.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> CategoricalFocalCrossentropy()(jnp.array([[0, 1]]), jnp.array([[0.75, 0.25]]))
        Array(0.19494765, dtype=float32)

    Source: Keras 3.15 ``keras.losses.CategoricalFocalCrossentropy``; Lin et al. 2017.
    """

    _activation = "softmax"

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, axis=axis)
        self.alpha = alpha
        self.gamma = gamma
        self.label_smoothing = fraction(label_smoothing, "label_smoothing")

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``categorical_focal_crossentropy``."""
        return categorical_focal_crossentropy(
            y_true,
            y_pred,
            self.alpha,
            self.gamma,
            self.from_logits,
            self.label_smoothing,
            self.axis,
        )
