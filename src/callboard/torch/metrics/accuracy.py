"""How often predictions are right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from callboard._core.errors import DataError
from callboard._core.monitor import Mode
from callboard.torch.losses.adapted import is_binary, is_sparse
from callboard.torch.losses.loss import same_rank, same_shape
from callboard.torch.metrics.mean import MeanMetric

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


def accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return where predictions equal targets, as booleans of their shape.

    Example:
        >>> accuracy(torch.tensor([1, 2]), torch.tensor([1, 3]))
        tensor([ True, False])
    """
    y_true, y_pred = same_shape(*same_rank(_tensor(y_true), _tensor(y_pred)))
    return y_true == y_pred


def binary_accuracy(y_true: Tensor, y_pred: Tensor, threshold: float = 0.5) -> Tensor:
    """Return where (prediction > threshold) equals the target, as booleans of their shape.

    Example:
        >>> binary_accuracy(torch.tensor([1, 0, 0]), torch.tensor([0.9, 0.9, 0.5]))
        tensor([ True, False,  True])
    """
    y_true, y_pred = same_shape(*same_rank(_tensor(y_true), _tensor(y_pred)))
    return (y_pred > threshold) == y_true


def categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return where target and prediction, (batch, ..., classes), are highest at the same class.

    Example:
        >>> categorical_accuracy(torch.tensor([[0, 1], [0, 1]]), torch.tensor([[0.1, 2], [3, 0]]))
        tensor([ True, False])
    """
    y_true, y_pred = same_shape(_tensor(y_true), _tensor(y_pred))
    return y_true.argmax(-1) == y_pred.argmax(-1)


def sparse_categorical_accuracy(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return where the highest of the predictions is the target's class.

    Args:
        y_true: Class numbers of any type, shape (batch, ...) or (batch, ..., 1).
        y_pred: Probabilities or logits, shape (batch, ..., classes).

    Example:
        >>> sparse_categorical_accuracy(torch.tensor([1, 1]), torch.tensor([[0.1, 2], [3, 0]]))
        tensor([ True, False])
    """
    y_true, y_pred = _class_numbers(y_true, y_pred)
    return y_true == y_pred.argmax(-1)


def top_k_categorical_accuracy(y_true: Tensor, y_pred: Tensor, k: int = 5) -> Tensor:
    """Return where the target's highest class is among the k highest predictions.

    Example:
        >>> y_true = torch.tensor([[0, 0, 1]])
        >>> top_k_categorical_accuracy(y_true, torch.tensor([[0.5, 0.3, 0.2]]), k=2)
        tensor([False])
    """
    y_true, y_pred = same_shape(_tensor(y_true), _tensor(y_pred))
    return sparse_top_k_categorical_accuracy(y_true.argmax(-1), y_pred, k)


def sparse_top_k_categorical_accuracy(
    y_true: Tensor,
    y_pred: Tensor,
    k: int = 5,
    from_sorted_ids: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
) -> Tensor:
    """Return where the target's class is among the k highest predictions.

    Args:
        y_true: Class numbers, shape (batch, ...) or (batch, ..., 1).
        y_pred: Probabilities or logits, shape (batch, ..., classes).
        k: How many predictions count; more than there are classes means all.
        from_sorted_ids: ``y_pred`` holds class numbers, the most likely first.

    Example:
        >>> sparse_top_k_categorical_accuracy([2], torch.tensor([[0.5, 0.3, 0.2]]), k=2)
        tensor([False])
    """
    y_true, y_pred = _class_numbers(y_true, y_pred)
    if from_sorted_ids:
        return (y_pred[..., :k] == y_true.unsqueeze(-1)).any(-1)
    lowest = y_pred.topk(min(k, y_pred.shape[-1]), -1).values[..., -1]
    return y_pred.gather(-1, y_true.long().unsqueeze(-1)).squeeze(-1) >= lowest


def _tensor(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.as_tensor(values)


def _class_numbers(y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    y_true, y_pred = _tensor(y_true), _tensor(y_pred)
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
        >>> Accuracy()(torch.tensor([1, 2]), torch.tensor([1, 3]))
        tensor(0.5000)

    Source: Keras 3.15 ``keras.metrics.Accuracy``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``accuracy``."""
        return accuracy(y_true, y_pred)


class BinaryAccuracy(MeanMetric):
    """How often (prediction > threshold) equals the target, 0 or 1.

    Args:
        name: Name in the logs.
        threshold: From where on a prediction means 1.

    Example:
        >>> BinaryAccuracy()(torch.tensor([1, 0]), torch.tensor([0.9, 0.9]))
        tensor(0.5000)

    Source: Keras 3.15 ``keras.metrics.BinaryAccuracy``.
    """

    direction: Mode | None = "max"

    def __init__(self, name: str = "binary_accuracy", threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``binary_accuracy``."""
        return binary_accuracy(y_true, y_pred, self.threshold)


class CategoricalAccuracy(MeanMetric):
    """How often the highest prediction is the right class, for one-hot targets.

    Args:
        name: Name in the logs.

    Example:
        >>> CategoricalAccuracy()(torch.tensor([[0, 1]]), torch.tensor([[0.1, 2.0]]))
        tensor(1.)

    Source: Keras 3.15 ``keras.metrics.CategoricalAccuracy``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, name: str = "categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``categorical_accuracy``."""
        return categorical_accuracy(y_true, y_pred)


class SparseCategoricalAccuracy(MeanMetric):
    """How often the highest prediction is the right class, for class numbers as targets.

    Args:
        name: Name in the logs.

    Example:
        >>> SparseCategoricalAccuracy()(torch.tensor([1]), torch.tensor([[0.1, 2.0]]))
        tensor(1.)

    Source: Keras 3.15 ``keras.metrics.SparseCategoricalAccuracy``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, name: str = "sparse_categorical_accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``sparse_categorical_accuracy``."""
        return sparse_categorical_accuracy(y_true, y_pred)


class TopKCategoricalAccuracy(MeanMetric):
    """How often the right class is among the k highest predictions, for one-hot targets.

    Args:
        k: How many predictions count.
        name: Name in the logs.

    Example:
        >>> TopKCategoricalAccuracy(k=2)([[0, 0, 1]], torch.tensor([[0.5, 0.3, 0.2]]))
        tensor(0.)

    Source: Keras 3.15 ``keras.metrics.TopKCategoricalAccuracy``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy") -> None:
        super().__init__(name)
        self.k = k

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``top_k_categorical_accuracy``."""
        return top_k_categorical_accuracy(y_true, y_pred, self.k)


class SparseTopKCategoricalAccuracy(MeanMetric):
    """How often the right class is among the k highest predictions, for class numbers.

    Args:
        k: How many predictions count.
        name: Name in the logs.
        from_sorted_ids: Predictions are class numbers, the most likely first.

    Example:
        >>> SparseTopKCategoricalAccuracy(k=2)([1], torch.tensor([[0.5, 0.3, 0.2]]))
        tensor(1.)

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

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return ``sparse_top_k_categorical_accuracy``."""
        return sparse_top_k_categorical_accuracy(y_true, y_pred, self.k, self.from_sorted_ids)


class AccuracyByShape(MeanMetric):
    """The accuracy that fits: binary, categorical or sparse, by the shapes of each batch.

    Args:
        name: Name in the logs.

    Example:
        >>> AccuracyByShape()(torch.tensor([1]), torch.tensor([[0.1, 2.0]]))
        tensor(1.)
        >>> AccuracyByShape()(torch.tensor([[1]]), torch.tensor([[0.3]]))
        tensor(0.)

    Source: Keras 3.15, ``metrics=["accuracy"]`` in ``compile``.
    """

    direction: Mode | None = "max"
    softmax_invariant = True

    def __init__(self, name: str = "accuracy") -> None:
        super().__init__(name)

    def values(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the accuracy that fits."""
        y_true = _tensor(y_true)
        if is_binary(y_pred):
            return binary_accuracy(y_true, y_pred)
        if is_sparse(y_true, y_pred):
            return sparse_categorical_accuracy(y_true, y_pred)
        return categorical_accuracy(y_true, y_pred)
