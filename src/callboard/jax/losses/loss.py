"""What every loss is: values per element, a weight for each sample, one number for the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import jax.numpy as jnp
from jax import Array

from callboard._core.names import snake_case
from callboard._core.objective_arguments import (
    EPSILON,
    REDUCTIONS,
    Activation,
    Reduction,
    check_reduction,
    same_shape,
    weight_shape,
)

__all__ = [
    "EPSILON",
    "REDUCTIONS",
    "Activation",
    "Loss",
    "Reduction",
    "aligned",
    "elementwise",
    "floating",
    "reduced",
    "same_rank",
    "same_shape",
    "weights_like",
]

_HALF = (jnp.dtype(jnp.float16), jnp.dtype(jnp.bfloat16))


class Loss(ABC):
    """A loss on arrays of JAX with Keras's order of arguments: ``loss(y_true, y_pred)``.

    Subclass it with one method, ``call``. What it returns is averaged, or summed, by ``reduction``;
    sample weights are applied before that. Half-precision predictions are computed in float32.

    Args:
        name: Name in logs of a model with several outputs; by default the class's in snake case.
        reduction: "sum_over_batch_size" or "mean" (sum of the weighted values over their number),
            "sum", "mean_with_sample_weight" (sum of the weighted values over the sum of the
            weights), "none" or None (the values themselves).

    Attributes:
        links: The final activation whose result this loss expects, "softmax" or "sigmoid", where
            ``on_logits()`` gives a loss that can do without it; otherwise None.

    Raises:
        UnknownNameError: If ``reduction`` is none of these.

    Example:
        >>> class Quartic(Loss):
        ...     def call(self, y_true, y_pred):
        ...         return ((y_true - y_pred) ** 4).mean(-1)
        >>> loss = Quartic()
        >>> loss.name, loss(jnp.array([[1.0], [0.0]]), jnp.array([[3.0], [0.0]]))
        ('quartic', Array(8., dtype=float32))

    Source: Keras 3.15 ``keras.losses.Loss``. A weight per sample meets values per sample and step
        sample by sample; Keras lets it meet the last axis.
    """

    links: Activation | None = None

    def __init__(
        self, name: str | None = None, reduction: Reduction | None = "sum_over_batch_size"
    ) -> None:
        self.reduction: Reduction = check_reduction(reduction)
        self.name = name or snake_case(type(self).__name__)

    @abstractmethod
    def call(self, y_true: Array, y_pred: Array) -> Array:
        """Return the loss of each sample, shape (batch,), or of its parts, (batch, ...)."""

    def counted(self, y_true: Array) -> Array | None:  # noqa: ARG002 - for subclasses
        """Return which values of ``call`` count, as booleans of its shape; None if all do."""
        return None

    def check_targets(self, y_true: Any, y_pred: Any) -> None:  # noqa: B027 - most take any
        """Look at the values of the first batch's targets; any will do, unless a subclass objects.

        Args:
            y_true: The targets.
            y_pred: What has shape and dtype of the predictions.

        Raises:
            DataError: If the loss has no meaning for them.
        """

    def mean(self, y_true: Array, y_pred: Array) -> Array:
        """Return the mean over the batch, a 0-d array; by one fused kernel where there is one."""
        return reduced(self.call(y_true, y_pred), None, "mean", self.counted(y_true))

    def per_sample(self, y_true: Array, y_pred: Array) -> Array:
        """Return one value for each sample, shape (batch,): the mean over all other axes."""
        values, counted = self.call(y_true, y_pred), self.counted(y_true)
        if values.ndim <= 1:
            return values
        if counted is None:
            return values.reshape(values.shape[0], -1).mean(1)
        number = counted.reshape(values.shape[0], -1).sum(1)
        return values.reshape(values.shape[0], -1).sum(1) / jnp.maximum(number, 1)

    def on_logits(self) -> Loss | None:
        """Return the same loss on what goes into its activation, ``links``; None without one."""
        return None

    def __call__(
        self, y_true: Array, y_pred: Array, sample_weight: Array | float | None = None
    ) -> Array:
        """Return the loss of a batch.

        Args:
            y_true: Targets. A missing or surplus last axis of length 1 is added or removed.
            y_pred: Predictions, shape (batch, ...), of a floating type.
            sample_weight: Weights, shape (batch,) or that of the values, whole or its beginning.

        Returns:
            A 0-d array, or the weighted values for ``reduction="none"``.

        Raises:
            DataError: If shapes do not fit.
            ConfigurationError: For weights on a loss that gives one value for a whole batch.
        """
        if sample_weight is None and self.reduction not in ("sum", "none"):
            return self.mean(y_true, y_pred)
        values = self.call(y_true, y_pred)
        return reduced(values, sample_weight, self.reduction, self.counted(y_true))


def reduced(
    values: Array,
    sample_weight: Array | float | None,
    reduction: Reduction,
    counted: Array | None = None,
) -> Array:
    """Weigh ``values``, leave out those that are not counted, and reduce them to one number."""
    weight = None if sample_weight is None else weights_like(values, sample_weight)
    valid = None if counted is None else counted.reshape(values.shape)
    weighted = values if weight is None else values * weight
    if valid is not None:
        weighted = jnp.where(valid, weighted, 0.0)
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    if reduction == "mean_with_sample_weight" and weight is not None:
        spread = jnp.broadcast_to(weight, values.shape)
        return _ratio(weighted, spread if valid is None else jnp.where(valid, spread, 0.0))
    return weighted.mean() if valid is None else _ratio(weighted, valid)


def _ratio(values: Array, weight: Array) -> Array:
    # Nothing counted is a loss of 0, as in Keras. The divisor is made safe before the division
    # because the gradient of a discarded 0/0 would still be NaN.
    divisor = weight.sum().astype(values.dtype)
    return values.sum() / jnp.where(divisor == 0, 1.0, divisor)


def weights_like(values: Array, sample_weight: Any) -> Array:
    """Return the weights as an array that broadcasts to ``values``, sample by sample.

    Raises:
        DataError: If there is not a weight for each sample.
        ConfigurationError: If there are no values per sample.
    """
    weight: Array = jnp.asarray(sample_weight, dtype=values.dtype)
    return weight.reshape(weight_shape(weight.shape, values.shape))


def floating(y_pred: Any) -> Array:
    """Return predictions as an array of at least float32."""
    array: Array = y_pred if isinstance(y_pred, Array) else jnp.asarray(y_pred)
    if array.dtype in _HALF or not jnp.issubdtype(array.dtype, jnp.floating):
        return array.astype(jnp.float32)
    return array


def same_rank(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Add or remove a last axis of length 1 where one of the two has it and the other has not."""
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        if y_pred.ndim == 1:
            return y_true, jnp.expand_dims(y_pred, -1)
        return y_true.squeeze(-1), y_pred
    if y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        if y_true.ndim == 1:
            return jnp.expand_dims(y_true, -1), y_pred
        return y_true, y_pred.squeeze(-1)
    return y_true, y_pred


def aligned(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Return targets and predictions of one floating type and one shape.

    Raises:
        DataError: If the shapes differ by more than a last axis of length 1. Keras would broadcast
            some of these, and train towards something else than what was meant.
    """
    y_pred = floating(y_pred)
    y_true = jnp.asarray(y_true, dtype=y_pred.dtype)
    return same_shape(*same_rank(y_true, y_pred))


def elementwise(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    """Like ``aligned``, and samples of one number each, shape (batch,), become (batch, 1)."""
    y_true, y_pred = aligned(y_true, y_pred)
    if y_pred.ndim == 1:
        return jnp.expand_dims(y_true, -1), jnp.expand_dims(y_pred, -1)
    return y_true, y_pred
