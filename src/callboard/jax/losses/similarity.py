"""Losses between vectors, distributions and regions, each taken as a whole."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from callboard.jax.losses.loss import EPSILON, Loss, Reduction, aligned

__all__ = [
    "CosineSimilarity",
    "Dice",
    "KLDivergence",
    "Tversky",
    "cosine_similarity",
    "dice",
    "kl_divergence",
    "tversky",
]

Axis = int | tuple[int, ...] | None


def cosine_similarity(y_true: Array, y_pred: Array, axis: int = -1) -> Array:
    """Return minus the cosine of the angle between the vectors along ``axis``: -1 if they agree.

    Example:
        >>> cosine_similarity(jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 3.0]]))
        Array([-1.], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred)
    units = (_normalized(y, axis) for y in (y_true, y_pred))
    return -(next(units) * next(units)).sum(axis)


def kl_divergence(y_true: Array, y_pred: Array) -> Array:
    """Return the sum over the last axis of y_true log(y_true / y_pred).

    Example:
        >>> kl_divergence(jnp.array([[0.5, 0.5]]), jnp.array([[0.25, 0.75]]))
        Array([0.14384104], dtype=float32)
    """
    y_true, y_pred = (jnp.clip(y, EPSILON, 1.0) for y in aligned(y_true, y_pred))
    return (y_true * jnp.log(y_true / y_pred)).sum(-1)


def dice(y_true: Array, y_pred: Array, axis: Axis = None) -> Array:
    """Return 1 - 2 |overlap| / (|y_true| + |y_pred|), summed over ``axis`` (None: all axes).

    Example:
        >>> dice(jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 0.0]]), axis=-1)
        Array([0.3333333], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred)
    overlap = (y_true * y_pred).sum(axis)
    return 1.0 - 2.0 * overlap / (y_true.sum(axis) + y_pred.sum(axis) + EPSILON)


def tversky(
    y_true: Array, y_pred: Array, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None
) -> Array:
    """Return 1 - |overlap| / (|overlap| + alpha |missed| + beta |invented|), over ``axis``.

    Example:
        >>> tversky(jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 0.0]]), axis=-1)
        Array([0.33333337], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred)
    overlap = (y_true * y_pred).sum(axis)
    # Keras names these two the other way round and weighs them like this all the same.
    missed = (y_true * (1.0 - y_pred)).sum(axis)
    invented = ((1.0 - y_true) * y_pred).sum(axis)
    return 1.0 - overlap / (overlap + alpha * missed + beta * invented + EPSILON)


def _normalized(y: Array, axis: int) -> Array:
    # Of the squares, as the gradient of a norm of 0 would be NaN.
    return y * jax.lax.rsqrt(jnp.maximum(jnp.square(y).sum(axis, keepdims=True), EPSILON**2))


class CosineSimilarity(Loss):
    """Minus the cosine similarity: -1 for vectors of one direction, 0 at right angles.

    Args:
        axis: Axis of the vectors' components.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> CosineSimilarity()(jnp.array([[0.0, 1.0]]), jnp.array([[0.0, 3.0]]))
        Array(-1., dtype=float32)

    Source: Keras 3.15 ``keras.losses.CosineSimilarity``.
    """

    def __init__(
        self,
        axis: int = -1,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "cosine_similarity",
    ) -> None:
        super().__init__(name, reduction)
        self.axis = axis

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``cosine_similarity``."""
        return cosine_similarity(y_true, y_pred, self.axis)


class KLDivergence(Loss):
    """Kullback-Leibler divergence of predicted from true probabilities (last axis).

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> KLDivergence()(jnp.array([[0.5, 0.5]]), jnp.array([[0.25, 0.75]]))
        Array(0.14384104, dtype=float32)

    Source: Keras 3.15 ``keras.losses.KLDivergence``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "kl_divergence"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``kl_divergence``."""
        return kl_divergence(y_true, y_pred)


class Dice(Loss):
    """Dice loss: how little two regions overlap, from 0 (equal) to 1 (disjoint).

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.
        axis: Axes that make up a region. None takes the whole batch as one, which leaves no values
            per sample to weigh; ``(1, 2, 3)`` takes each image of (batch, height, width, classes).

    Example:
        >>> Dice()(jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 0.0]]))
        Array(0.3333333, dtype=float32)

    Source: Keras 3.15 ``keras.losses.Dice``.
    """

    def __init__(
        self,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "dice",
        axis: Axis = None,
    ) -> None:
        super().__init__(name, reduction)
        self.axis = axis

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``dice``."""
        return dice(y_true, y_pred, self.axis)


class Tversky(Loss):
    """Dice loss with a price each for what was missed and what was invented.

    Args:
        alpha: Price of the parts of ``y_true`` that ``y_pred`` misses.
        beta: Price of the parts of ``y_pred`` that ``y_true`` lacks.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.
        axis: Axes that make up a region, as for :class:`Dice`.

    Example:
        >>> Tversky(alpha=1.0)(jnp.array([[1.0, 1.0]]), jnp.array([[1.0, 0.0]]))
        Array(0.5, dtype=float32)

    Source: Keras 3.15 ``keras.losses.Tversky``; Salehi et al. 2017, arXiv:1706.05721.
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: Reduction | None = "sum_over_batch_size",
        name: str = "tversky",
        axis: Axis = None,
    ) -> None:
        super().__init__(name, reduction)
        self.alpha = alpha
        self.beta = beta
        self.axis = axis

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``tversky``."""
        return tversky(y_true, y_pred, self.alpha, self.beta, self.axis)
