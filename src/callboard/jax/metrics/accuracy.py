"""How often predictions are right."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from callboard._core.errors import DataError
from callboard._core.monitor import Mode
from callboard.jax.losses.adapted import is_binary, is_sparse
from callboard.jax.losses.loss import same_rank, same_shape
from callboard.jax.metrics.mean import MeanMetric

__all__ = [
    "Accuracy",
    "AccuracyByShape",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def accuracy(y_true: Array, y_pred: Array) -> Array:
    """Return where predictions equal targets, as booleans of their shape.

    Example:
        >>> accuracy(jnp.array([1, 2]), jnp.array([1, 3]))
        Array([ True, False], dtype=bool)
    """
    y_true, y_pred = same_shape(*same_rank(_array(y_true), _array(y_pred)))
    return y_true == y_pred


def binary_accuracy(y_true: Array, y_pred: Array, threshold: float = 0.5) -> Array:
    """Return where (prediction > threshold) equals the target, as booleans of their shape.

    Example:
        >>> binary_accuracy(jnp.array([1, 0, 0]), jnp.array([0.9, 0.9, 0.5]))
        Array([ True, False,  True], dtype=bool)
    """
    y_true, y_pred = same_shape(*same_rank(_array(y_true), _array(y_pred)))
    return (y_pred > threshold) == y_true


def categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """Return where target and prediction, (batch, ..., classes), are highest at the same class.

    Example:
        >>> categorical_accuracy(jnp.array([[0, 1], [0, 1]]), jnp.array([[0.1, 2], [3, 0]]))
        Array([ True, False], dtype=bool)
    """
    y_true, y_pred = same_shape(_array(y_true), _array(y_pred))
    return y_true.argmax(-1) == y_pred.argmax(-1)


def sparse_categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """Return where the highest of the predictions is the target's class.

    Args:
        y_true: Class numbers of any type, shape (batch, ...) or (batch, ..., 1).
        y_pred: Probabilities or logits, shape (batch, ..., classes).

    Example:
        >>> sparse_categorical_accuracy(jnp.array([1, 1]), jnp.array([[0.1, 2], [3, 0]]))
        Array([ True, False], dtype=bool)
    """
    y_true, y_pred = _class_numbers(y_true, y_pred)
    return y_true == y_pred.argmax(-1)


def top_k_categorical_accuracy(y_true: Array, y_pred: Array, k: int = 5) -> Array:
    """Return where the target's highest class is among the k highest predictions.

    Example:
        >>> y_true = jnp.array([[0, 0, 1]])
        >>> top_k_categorical_accuracy(y_true, jnp.array([[0.5, 0.3, 0.2]]), k=2)
        Array([False], dtype=bool)
    """
    y_true, y_pred = same_shape(_array(y_true), _array(y_pred))
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)


def sparse_top_k_categorical_accuracy(
    y_true: Array,
    y_pred: Array,
    k: int = 5,
    from_sorted_ids: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
) -> Array:
    """Return where the target's class is among the k highest predictions.

    Args:
        y_true: Class numbers, shape (batch, ...) or (batch, ..., 1).
        y_pred: Probabilities or logits, shape (batch, ..., classes).
        k: How many predictions count; more than there are classes means all.
        from_sorted_ids: ``y_pred`` holds class numbers, the most likely first.

    Example:
        >>> sparse_top_k_categorical_accuracy([2], jnp.array([[0.5, 0.3, 0.2]]), k=2)
        Array([False], dtype=bool)
    """
    y_true, y_pred = _class_numbers(y_true, y_pred)
    if from_sorted_ids:
        return (y_pred[..., :k] == jnp.expand_dims(y_true, -1)).any(-1)
    lowest = jax.lax.top_k(y_pred, min(k, y_pred.shape[-1]))[0][..., -1]
    chosen = jnp.take_along_axis(y_pred, jnp.expand_dims(y_true.astype(jnp.int32), -1), -1)
    return chosen.squeeze(-1) >= lowest


def _array(values: Any) -> Array:
    return values if isinstance(values, Array) else jnp.asarray(values)


def _class_numbers(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    y_true, y_pred = _array(y_true), _array(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    if y_true.shape != y_pred.shape[:-1]:
        raise DataError(
            f"y_true has shape {tuple(y_true.shape)} and y_pred {tuple(y_pred.shape)}; class "
            f"numbers need the shape {tuple(y_pred.shape[:-1])}. For one-hot targets use "
            "categorical_accuracy; for a single output unit binary_accuracy"
        )
    return y_true, y_pred


class Accuracy(MeanMetric):
    """How often predictions equal targets exactly.

    Args:
        name: Name in the logs.

    Example:
        >>> Accuracy()(jnp.array([1, 2]), jnp.array([1, 3]))
        Array(0.5, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.Accuracy``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``accuracy``."""
        return accuracy(y_true, y_pred)


class BinaryAccuracy(MeanMetric):
    """How often (prediction > threshold) equals the target, 0 or 1.

    Args:
        name: Name in the logs.
        threshold: From where on a prediction means 1.

    Example:
        >>> BinaryAccuracy()(jnp.array([1, 0]), jnp.array([0.9, 0.9]))
        Array(0.5, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.BinaryAccuracy``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``binary_accuracy``."""
        return binary_accuracy(y_true, y_pred, self.threshold)


class CategoricalAccuracy(MeanMetric):
    """How often the highest prediction is the right class, for one-hot targets.

    Args:
        name: Name in the logs.

    Example:
        >>> CategoricalAccuracy()(jnp.array([[0, 1]]), jnp.array([[0.1, 2.0]]))
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.CategoricalAccuracy``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``categorical_accuracy``."""
        return categorical_accuracy(y_true, y_pred)


class SparseCategoricalAccuracy(MeanMetric):
    """How often the highest prediction is the right class, for class numbers as targets.

    Args:
        name: Name in the logs.

    Example:
        >>> SparseCategoricalAccuracy()(jnp.array([1]), jnp.array([[0.1, 2.0]]))
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.SparseCategoricalAccuracy``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``sparse_categorical_accuracy``."""
        return sparse_categorical_accuracy(y_true, y_pred)


class TopKCategoricalAccuracy(MeanMetric):
    """How often the right class is among the k highest predictions, for one-hot targets.

    Args:
        k: How many predictions count.
        name: Name in the logs.

    Example:
        >>> TopKCategoricalAccuracy(k=2)([[0, 0, 1]], jnp.array([[0.5, 0.3, 0.2]]))
        Array(0., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.TopKCategoricalAccuracy``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = k

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``top_k_categorical_accuracy``."""
        return top_k_categorical_accuracy(y_true, y_pred, self.k)


class SparseTopKCategoricalAccuracy(MeanMetric):
    """How often the right class is among the k highest predictions, for class numbers.

    Args:
        k: How many predictions count.
        name: Name in the logs.
        from_sorted_ids: Predictions are class numbers, the most likely first.

    Example:
        >>> SparseTopKCategoricalAccuracy(k=2)([1], jnp.array([[0.5, 0.3, 0.2]]))
        Array(1., dtype=float32)

    Source: Keras 3.15 ``keras.metrics.SparseTopKCategoricalAccuracy``.
    """

    direction: Mode | None = "max"

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        from_sorted_ids: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    ) -> None:
        super().__init__(name)
        self.k = k
        self.from_sorted_ids = from_sorted_ids
        self.softmax_invariant = not from_sorted_ids

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``sparse_top_k_categorical_accuracy``."""
        return sparse_top_k_categorical_accuracy(y_true, y_pred, self.k, self.from_sorted_ids)


class AccuracyByShape(MeanMetric):
    """The accuracy that fits: binary, categorical or sparse, by the shapes of each batch.

    Args:
        name: Name in the logs.

    Example:
        >>> AccuracyByShape()(jnp.array([1]), jnp.array([[0.1, 2.0]]))
        Array(1., dtype=float32)
        >>> AccuracyByShape()(jnp.array([[1]]), jnp.array([[0.3]]))
        Array(0., dtype=float32)

    Source: Keras 3.15, ``metrics=["accuracy"]`` in ``compile``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """Return the accuracy that fits."""
        y_true = _array(y_true)
        if is_binary(y_pred):
            return binary_accuracy(y_true, y_pred)
        if is_sparse(y_true, y_pred):
            return sparse_categorical_accuracy(y_true, y_pred)
        return categorical_accuracy(y_true, y_pred)
