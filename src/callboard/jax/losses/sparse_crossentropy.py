"""Cross-entropy for targets that are class numbers, on probabilities or on logits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from callboard._core.errors import DataError
from callboard.jax.losses.crossentropy import Classification, clipped
from callboard.jax.losses.loss import Reduction, floating

__all__ = ["SparseCategoricalCrossentropy", "sparse_categorical_crossentropy"]


def sparse_categorical_crossentropy(
    y_true: Array,
    y_pred: Array,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    ignore_class: int | None = None,
    axis: int = -1,
) -> Array:
    """Return the cross-entropy of targets that are numbers of classes.

    Args:
        y_true: Class numbers of any type, shape (batch, ...) or (batch, ..., 1).
        y_pred: Probabilities (scaled to a sum of 1) or logits, shape (batch, ..., classes).
        from_logits: Whether ``y_pred`` has not gone through a softmax.
        ignore_class: A class whose elements give 0, such as a "void" label.
        axis: Axis of the classes in ``y_pred``.

    Raises:
        DataError: If the shapes do not fit.

    Example:
        >>> sparse_categorical_crossentropy(jnp.array([1]), jnp.array([[0.75, 0.25]]))
        Array([1.3862944], dtype=float32)
    """
    labels, y_pred = _labels(y_true, y_pred, axis)
    valid = None if ignore_class is None else labels != ignore_class
    if valid is not None:
        labels = jnp.where(valid, labels, 0)
    if from_logits:
        values = -_chosen(jax.nn.log_softmax(y_pred, axis), labels, axis)
    else:
        chosen = _chosen(y_pred, labels, axis)
        # Only the right class counts, so only it is clipped and taken the logarithm of.
        values = -jnp.log(clipped(chosen / y_pred.sum(axis)))
    return values if valid is None else jnp.where(valid, values, 0.0)


def _chosen(values: Array, labels: Array, axis: int) -> Array:
    """Return the value of each label's class; NaN for labels that are none."""
    labels = jnp.where(labels < 0, values.shape[axis], labels)  # which would count from the end
    return jnp.take_along_axis(values, jnp.expand_dims(labels, axis), axis).squeeze(axis)


def _labels(y_true: Any, y_pred: Any, axis: int) -> tuple[Array, Array]:
    y_pred = floating(y_pred)
    labels = y_true if isinstance(y_true, Array) else jnp.asarray(y_true)
    if labels.ndim == y_pred.ndim and labels.shape[axis] == 1:
        labels = labels.squeeze(axis)
    place = axis % y_pred.ndim
    expected = y_pred.shape[:place] + y_pred.shape[place + 1 :]
    if labels.shape != expected:
        raise DataError(
            f"y_true has shape {tuple(labels.shape)} and y_pred {tuple(y_pred.shape)}; class "
            f"numbers need the shape {tuple(expected)}. For one-hot targets use "
            "categorical_crossentropy; for a single output unit binary_crossentropy"
        )
    return labels.astype(jnp.int32), y_pred


class SparseCategoricalCrossentropy(Classification):
    """Cross-entropy of a classifier, for class numbers as targets and a softmax at the end.

    Args:
        from_logits: Whether predictions have not gone through a softmax.
        ignore_class: A class whose elements do not count, such as a "void" label; the mean is
            taken over the others, and is 0 if there are none.
        reduction: As for :class:`Loss`.
        axis: Axis of the classes in the predictions.
        name: As for :class:`Loss`.

    Example:
        >>> loss = SparseCategoricalCrossentropy()
        >>> loss(jnp.array([1]), jnp.array([[0.75, 0.25]]))
        Array(1.3862944, dtype=float32)
        >>> loss.on_logits()(jnp.array([1]), jnp.log(jnp.array([[0.75, 0.25]])))
        Array(1.3862944, dtype=float32)

    Source: Keras 3.15 ``keras.losses.SparseCategoricalCrossentropy``.
    """

    _activation = "softmax"

    def __init__(
        self,
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        ignore_class: int | None = None,
        reduction: Reduction | None = "sum_over_batch_size",
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
    ) -> None:
        super().__init__(name, reduction, from_logits=from_logits, axis=axis)
        self.ignore_class = ignore_class

    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return ``sparse_categorical_crossentropy``."""
        return sparse_categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis
        )

    def check_targets(self, y_true: Any, y_pred: Any) -> None:
        """Look whether the targets are numbers of classes that the predictions have.

        Raises:
            DataError: If not.
        """
        labels, classes = np.asarray(y_true), y_pred.shape[self.axis]
        labels = labels[labels != self.ignore_class]
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise DataError(
                f"the class numbers in y go from {labels.min():g} to {labels.max():g}, and the "
                f"outputs have {classes} classes, 0 to {classes - 1}; number the classes from 0, "
                "or have as many outputs"
            )

    def counted(self, y_true: Array) -> Array | None:
        """Return where the target is not ``ignore_class``."""
        return None if self.ignore_class is None else jnp.asarray(y_true) != self.ignore_class
