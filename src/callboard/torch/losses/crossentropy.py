"""Cross-entropy for targets that are probabilities, on probabilities or on logits."""

from __future__ import annotations

import copy
from typing import Self

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

from callboard._core.errors import ConfigurationError
from callboard._core.objective_arguments import fraction
from callboard.torch.losses.loss import (
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
    "classes_second",
    "clipped",
    "normalized",
    "smoothed",
]


def binary_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return the cross-entropy of independent yes-no decisions, averaged over ``axis``.

    Args:
        y_true: 0 or 1, or probabilities, shape (batch, ...) or (batch,).
        y_pred: Probabilities of 1, or logits; same shape.
        from_logits: Whether ``y_pred`` has not gone through a sigmoid.
        label_smoothing: From 0 to 1; draws the targets towards 0.5.
        axis: Axis to average over.

    Example:
        >>> binary_crossentropy(torch.tensor([1, 0]), torch.tensor([0.5, 0.25]))
        tensor([0.6931, 0.2877])
    """
    y_true, y_pred = elementwise(y_true, y_pred)
    y_true = _between(y_true, label_smoothing)
    return binary_values(y_true, y_pred, from_logits=from_logits).mean(axis)


def categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Return the cross-entropy of one-hot or soft targets.

    Args:
        y_true: Probability of each class, shape (batch, ..., classes).
        y_pred: Probabilities (scaled to a sum of 1) or logits; same shape.
        from_logits: Whether ``y_pred`` has not gone through a softmax.
        label_smoothing: From 0 to 1; draws the targets towards 1 / classes.
        axis: Axis of the classes.

    Example:
        >>> categorical_crossentropy(torch.tensor([[0, 1]]), torch.tensor([[0.75, 0.25]]))
        tensor([1.3863])
    """
    y_true, y_pred = aligned(y_true, y_pred)
    y_true = smoothed(y_true, label_smoothing, axis)
    logs = F.log_softmax(y_pred, axis) if from_logits else _log_probabilities(y_pred, axis)
    return -(y_true * logs).sum(axis)


def clipped(probabilities: Tensor) -> Tensor:
    """Return probabilities kept away from 0 and 1, so that logarithms are finite."""
    return probabilities.clamp(EPSILON, 1.0 - EPSILON)


def _log_probabilities(y_pred: Tensor, axis: int) -> Tensor:
    return clipped(normalized(y_pred, axis)).log()


def normalized(probabilities: Tensor, axis: int) -> Tensor:
    """Return probabilities scaled to a sum of 1."""
    return probabilities / probabilities.sum(axis, keepdim=True)


def smoothed(y_true: Tensor, label_smoothing: float, axis: int) -> Tensor:
    """Return one-hot targets drawn towards equal probabilities."""
    if not label_smoothing:
        return y_true
    return y_true * (1.0 - label_smoothing) + label_smoothing / y_true.shape[axis]


def _between(y_true: Tensor, label_smoothing: float) -> Tensor:
    return y_true * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else y_true


def binary_values(y_true: Tensor, y_pred: Tensor, *, from_logits: bool) -> Tensor:
    """Return the binary cross-entropy of every element."""
    if from_logits:
        return F.binary_cross_entropy_with_logits(y_pred, y_true, reduction="none")
    probabilities = clipped(y_pred)
    # Not F.binary_cross_entropy: it refuses to run under autocast.
    return (y_true - 1.0) * torch.log1p(-probabilities) - y_true * probabilities.log()


def classes_second(y: Tensor, axis: int) -> Tensor:
    """Return ``y`` with the axis of the classes where PyTorch's kernels want it."""
    return y if y.ndim < 2 or axis % y.ndim == 1 else y.movedim(axis, 1)


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
        >>> loss(torch.tensor([1, 0]), torch.tensor([0.5, 0.25])), loss.links
        (tensor(0.4904), 'sigmoid')

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

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``binary_crossentropy``."""
        return binary_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over the batch, from logits in one kernel."""
        y_true, y_pred = elementwise(y_true, y_pred)
        y_true = _between(y_true, self.label_smoothing)
        if self.from_logits:
            return F.binary_cross_entropy_with_logits(y_pred, y_true)
        return binary_values(y_true, y_pred, from_logits=False).mean()


class CategoricalCrossentropy(Classification):
    """Cross-entropy of a classifier, for one-hot or soft targets and a softmax at the end.

    Args:
        from_logits: Whether predictions have not gone through a softmax.
        label_smoothing: From 0 to 1; draws the targets towards 1 / classes.
        axis: Axis of the classes.
        reduction: As for :class:`Loss`.
        name: As for :class:`Loss`.

    Example:
        >>> CategoricalCrossentropy()(torch.tensor([[0, 1]]), torch.tensor([[0.75, 0.25]]))
        tensor(1.3863)

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

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``categorical_crossentropy``."""
        return categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.label_smoothing, self.axis
        )

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over the batch, from logits in one call."""
        if not self.from_logits:
            return super().mean(y_true, y_pred)
        targets, logits = (classes_second(y, self.axis) for y in aligned(y_true, y_pred))
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
