"""Losses that ask for a margin between right and wrong."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from callboard.jax.losses.loss import Loss, Reduction, aligned, elementwise

__all__ = [
    "CategoricalHinge",
    "Hinge",
    "SquaredHinge",
    "categorical_hinge",
    "hinge",
    "squared_hinge",
]


def hinge(y_true: Array, y_pred: Array) -> Array:
    """Return the mean over the last axis of max(0, 1 - y_true y_pred).

    Targets are -1 and 1. A batch with nothing but 0 and 1 is taken to mean -1 and 1.

    Example:
        >>> hinge(jnp.array([[0.0], [1.0]]), jnp.array([[0.5], [0.5]]))
        Array([1.5, 0.5], dtype=float32)
    """
    return _shortfall(y_true, y_pred).mean(-1)


def squared_hinge(y_true: Array, y_pred: Array) -> Array:
    """Return the mean over the last axis of max(0, 1 - y_true y_pred)².

    Targets as for :func:`hinge`.

    Example:
        >>> squared_hinge(jnp.array([[0.0], [1.0]]), jnp.array([[0.5], [0.5]]))
        Array([2.25, 0.25], dtype=float32)
    """
    return jnp.square(_shortfall(y_true, y_pred)).mean(-1)


def categorical_hinge(y_true: Array, y_pred: Array) -> Array:
    """Return max(0, neg - pos + 1) over the last axis, for one-hot targets.

    ``pos`` is the score of the right class, ``neg`` the highest score of a wrong one.

    Example:
        >>> categorical_hinge(jnp.array([[0.0, 1.0]]), jnp.array([[0.25, 0.75]]))
        Array([0.5], dtype=float32)
    """
    y_true, y_pred = aligned(y_true, y_pred)
    right = (y_true * y_pred).sum(-1)
    wrong = ((1.0 - y_true) * y_pred).max(-1)
    return jax.nn.relu(wrong - right + 1.0)


def _shortfall(y_true: Array, y_pred: Array) -> Array:
    y_true, y_pred = elementwise(y_true, y_pred)
    # Decided on the device: looking at the answer here would wait for it.
    binary = ((y_true == 0) | (y_true == 1)).all()
    signs = jnp.where(binary, 2.0 * y_true - 1.0, y_true)
    return jax.nn.relu(1.0 - signs * y_pred)


class Hinge(Loss):
    """Hinge loss of a binary classifier with scores as outputs.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> Hinge()(jnp.array([[0.0], [1.0]]), jnp.array([[0.5], [0.5]]))
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.losses.Hinge``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "hinge"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``hinge``."""
        return hinge(y_true, y_pred)


class SquaredHinge(Loss):
    """Squared hinge loss of a binary classifier with scores as outputs.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> SquaredHinge()(jnp.array([[0.0], [1.0]]), jnp.array([[0.5], [0.5]]))
        Array(1.25, dtype=float32)

    Source: Keras 3.15 ``keras.losses.SquaredHinge``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "squared_hinge"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``squared_hinge``."""
        return squared_hinge(y_true, y_pred)


class CategoricalHinge(Loss):
    """Hinge loss of a classifier with a score for each class, for one-hot targets.

    Args:
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> CategoricalHinge()(jnp.array([[0.0, 1.0]]), jnp.array([[0.25, 0.75]]))
        Array(0.5, dtype=float32)

    Source: Keras 3.15 ``keras.losses.CategoricalHinge``.
    """

    def __init__(
        self, reduction: Reduction | None = "sum_over_batch_size", name: str = "categorical_hinge"
    ) -> None:
        super().__init__(name, reduction)

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``categorical_hinge``."""
        return categorical_hinge(y_true, y_pred)
