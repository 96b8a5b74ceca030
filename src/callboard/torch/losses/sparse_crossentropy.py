"""Cross-entropy for targets that are class numbers, on probabilities or on logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation
from torch import Tensor

from callboard._core.errors import DataError
from callboard.torch.losses.crossentropy import Classification, classes_second, clipped
from callboard.torch.losses.loss import Reduction, floating

__all__ = ["SparseCategoricalCrossentropy", "sparse_categorical_crossentropy"]


def sparse_categorical_crossentropy(
    y_true: Tensor,
    y_pred: Tensor,
    from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
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
        >>> sparse_categorical_crossentropy(torch.tensor([1]), torch.tensor([[0.75, 0.25]]))
        tensor([1.3863])
    """
    labels, y_pred = _labels(y_true, y_pred, axis)
    valid = None if ignore_class is None else labels != ignore_class
    if valid is not None:
        labels = torch.where(valid, labels, 0)
    if from_logits:
        values = F.cross_entropy(classes_second(y_pred, axis), labels, reduction="none")
    else:
        chosen = y_pred.gather(axis, labels.unsqueeze(axis))
        # Only the right class counts, so only it is clipped and taken the logarithm of.
        values = -clipped(chosen / y_pred.sum(axis, keepdim=True)).log().squeeze(axis)
    return values if valid is None else torch.where(valid, values, 0.0)


def _labels(y_true: Any, y_pred: Any, axis: int) -> tuple[Tensor, Tensor]:
    y_pred = floating(y_pred)
    labels = y_true if isinstance(y_true, Tensor) else torch.as_tensor(y_true)
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
    return (labels if labels.dtype is torch.int64 else labels.long()), y_pred


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
        >>> loss(torch.tensor([1]), torch.tensor([[0.75, 0.25]]))
        tensor(1.3863)
        >>> loss.on_logits()(torch.tensor([1]), torch.tensor([[0.75, 0.25]]).log())
        tensor(1.3863)

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

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``sparse_categorical_crossentropy``."""
        return sparse_categorical_crossentropy(
            y_true, y_pred, self.from_logits, self.ignore_class, self.axis
        )

    def counted(self, y_true: Tensor) -> Tensor | None:
        """Return where the target is not ``ignore_class``."""
        return None if self.ignore_class is None else torch.as_tensor(y_true) != self.ignore_class

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the mean over the batch, from logits in one call."""
        if self.from_logits and self.ignore_class is None:
            labels, y_pred = _labels(y_true, y_pred, self.axis)
            return F.cross_entropy(classes_second(y_pred, self.axis), labels)
        return super().mean(y_true, y_pred)
