"""Losses of other makes under our interface: functions, a choice by shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import Array

from callboard._core.errors import DataError
from callboard._core.names import snake_case
from callboard.jax.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy
from callboard.jax.losses.loss import Loss, aligned
from callboard.jax.losses.sparse_crossentropy import SparseCategoricalCrossentropy

__all__ = ["CrossentropyByShape", "FunctionLoss", "OptaxLoss", "is_binary", "is_sparse"]


class FunctionLoss(Loss):
    """A function ``fn(y_true, y_pred)``, in Keras's order of arguments.

    Args:
        function: Returns a value per sample, shape (batch,) or (batch, ...), or a single value for
            the batch, to which no weights can be applied.
        name: Name of the loss; by default the function's.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = FunctionLoss(lambda y_true, y_pred: jnp.abs((y_true - y_pred)).mean(-1), "off")
        >>> loss(jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [4.0]]), jnp.array([1, 3]))
        Array(3., dtype=float32)
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or _name_of(function))
        self._function = function

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return what the function returns.

        Raises:
            DataError: If that is not an array.
        """
        values = self._function(y_true, y_pred)
        if not isinstance(values, Array):
            raise DataError(
                f"the loss function {self.name!r} must return an array of shape (batch,) or (); "
                f"it returned a {type(values).__name__}"
            )
        return values


def _name_of(function: object) -> str:
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    return snake_case(name if isinstance(name, str) else type(function).__name__) or "loss"


class OptaxLoss(Loss):
    """A loss of optax, called in optax's order: ``fn(y_pred, y_true)``.

    Args:
        function: The function; the axes behind the first one of its values are averaged.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> loss = OptaxLoss(optax.losses.softmax_cross_entropy_with_integer_labels)
        >>> loss(jnp.array([[1]]), jnp.array([[0.0, 0.0]]))
        Array(0.6931472, dtype=float32)
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(_name_of(function))
        self._function = function
        self._takes_classes = "integer_labels" in self.name

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return the function's values."""
        if self._takes_classes:
            y_true = y_true.astype(int)
            if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
                y_true = y_true.squeeze(-1)
        else:
            y_true, y_pred = aligned(y_true, y_pred)
        values: Array = self._function(y_pred, y_true)
        return values


class CrossentropyByShape(Loss):
    """The cross-entropy that fits: binary, categorical or sparse, by the shapes of a batch.

    Args:
        name: Name of the loss.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = CrossentropyByShape()
        >>> loss(jnp.array([1]), jnp.array([[0.75, 0.25]]))
        Array(1.3862944, dtype=float32)
        >>> loss(jnp.array([[1]]), jnp.array([[0.5]]))
        Array(0.6931472, dtype=float32)

    Source: Keras 3.15, ``loss="crossentropy"`` in ``compile``.
    """

    def __init__(self, name: str = "crossentropy") -> None:
        super().__init__(name)
        self._binary = BinaryCrossentropy()
        self._sparse = SparseCategoricalCrossentropy()
        self._categorical = CategoricalCrossentropy()

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return the values of the cross-entropy that fits."""
        if is_binary(y_pred):
            return self._binary.call(y_true, y_pred)
        if is_sparse(y_true, y_pred):
            return self._sparse.call(y_true, y_pred)
        return self._categorical.call(y_true, y_pred)


def is_binary(y_pred: Array) -> bool:
    """Say whether predictions have a single output unit, or none at all, shape (batch,)."""
    return y_pred.ndim < 2 or y_pred.shape[-1] == 1


def is_sparse(y_true: Array, y_pred: Array) -> bool:
    """Say whether targets lack the axis of the classes, or have it with a length of 1."""
    return y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
