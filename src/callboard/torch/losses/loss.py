"""What every loss is: values per element, a weight for each sample, one number for the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

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
from callboard.torch.arrays import widened

__all__ = [
    "EPSILON",
    "REDUCTIONS",
    "Activation",
    "Loss",
    "Reduction",
    "aligned",
    "elementwise",
    "floating",
    "of_one_type",
    "reduced",
    "same_rank",
    "same_shape",
    "weights_like",
]


class Loss(ABC):
    """A loss on torch tensors with Keras's order of arguments: ``loss(y_true, y_pred)``.

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
        >>> loss.name, loss(torch.tensor([[1.0], [0.0]]), torch.tensor([[3.0], [0.0]]))
        ('quartic', tensor(8.))

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
    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the loss of each sample, shape (batch,), or of its parts, (batch, ...)."""

    def counted(self, y_true: Tensor) -> Tensor | None:  # noqa: ARG002 - for subclasses
        """Return which values of ``call`` count, as booleans of its shape; None if all do."""
        return None

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over the batch, a 0-d tensor; by one fused kernel where there is one."""
        return reduced(self.call(y_true, y_pred), None, "mean", self.counted(y_true))

    def per_sample(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return one value for each sample, shape (batch,): the mean over all other axes."""
        values, counted = self.call(y_true, y_pred), self.counted(y_true)
        if values.ndim <= 1:
            return values
        if counted is None:
            return values.flatten(1).mean(1)
        number = counted.reshape(values.shape).flatten(1).sum(1)
        return values.flatten(1).sum(1) / number.clamp(min=1)

    def on_logits(self) -> Loss | None:
        """Return the same loss on what goes into its activation, ``links``; None without one."""
        return None

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | float | None = None
    ) -> Tensor:
        """Return the loss of a batch.

        Args:
            y_true: Targets. A missing or surplus last axis of length 1 is added or removed.
            y_pred: Predictions, shape (batch, ...), of a floating type.
            sample_weight: Weights, shape (batch,) or that of the values, whole or its beginning.

        Returns:
            A 0-d tensor, or the weighted values for ``reduction="none"``.

        Raises:
            DataError: If shapes do not fit.
            ConfigurationError: For weights on a loss that gives one value for a whole batch.
        """
        if sample_weight is None and self.reduction not in ("sum", "none"):
            return self.mean(y_true, y_pred)
        values = self.call(y_true, y_pred)
        return reduced(values, sample_weight, self.reduction, self.counted(y_true))


def reduced(
    values: Tensor,
    sample_weight: Tensor | float | None,
    reduction: Reduction,
    counted: Tensor | None = None,
) -> Tensor:
    """Weigh ``values``, leave out those that are not counted, and reduce them to one number."""
    weight = None if sample_weight is None else weights_like(values, sample_weight)
    valid = None if counted is None else counted.reshape(values.shape)
    weighted = values if weight is None else values * weight
    if valid is not None:
        weighted = torch.where(valid, weighted, 0.0)
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    if reduction == "mean_with_sample_weight" and weight is not None:
        spread = weight.expand(values.shape)
        return _ratio(weighted, spread if valid is None else torch.where(valid, spread, 0.0))
    return weighted.mean() if valid is None else _ratio(weighted, valid)


def _ratio(values: Tensor, weight: Tensor) -> Tensor:
    # Nothing counted is a loss of 0, as in Keras. The divisor is made safe before the division
    # because the gradient of a discarded 0/0 would still be NaN.
    divisor = weight.sum().to(values.dtype)
    return values.sum() / torch.where(divisor == 0, 1.0, divisor)


def weights_like(values: Tensor, sample_weight: Any) -> Tensor:
    """Return the weights as a tensor that broadcasts to ``values``, sample by sample.

    Raises:
        DataError: If there is not a weight for each sample.
        ConfigurationError: If there are no values per sample.
    """
    weight: Tensor = torch.as_tensor(sample_weight, dtype=values.dtype, device=values.device)
    return weight.reshape(weight_shape(weight.shape, values.shape))


def floating(y_pred: Any) -> Tensor:
    """Return predictions as a tensor of at least float32."""
    tensor: Tensor = y_pred if isinstance(y_pred, Tensor) else torch.as_tensor(y_pred)
    return widened(tensor) if tensor.is_floating_point() else tensor.float()


def of_one_type(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return predictions of at least float32, and floating targets of their type.

    For functions of other makes, which need not take several types. Class numbers stay.
    """
    if not isinstance(y_pred, Tensor) or not y_pred.is_floating_point():
        return y_true, y_pred
    y_pred = widened(y_pred)
    if isinstance(y_true, Tensor) and y_true.is_floating_point():
        y_true = y_true.to(y_pred.dtype)
    return y_true, y_pred


def same_rank(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Add or remove a last axis of length 1 where one of the two has it and the other has not."""
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        if y_pred.ndim == 1:
            return y_true, y_pred.unsqueeze(-1)
        return y_true.squeeze(-1), y_pred
    if y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        if y_true.ndim == 1:
            return y_true.unsqueeze(-1), y_pred
        return y_true, y_pred.squeeze(-1)
    return y_true, y_pred


def aligned(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Return targets and predictions of one floating type and one shape.

    Raises:
        DataError: If the shapes differ by more than a last axis of length 1. Keras would broadcast
            some of these, and train towards something else than what was meant.
    """
    y_pred = floating(y_pred)
    y_true = torch.as_tensor(y_true, dtype=y_pred.dtype)
    return same_shape(*same_rank(y_true, y_pred))


def elementwise(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Like ``aligned``, and samples of one number each, shape (batch,), become (batch, 1)."""
    y_true, y_pred = aligned(y_true, y_pred)
    if y_pred.ndim == 1:
        return y_true.unsqueeze(-1), y_pred.unsqueeze(-1)
    return y_true, y_pred
