"""Intersection over union: how well predicted regions cover the true ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from callboard._core.errors import DataError
from callboard._core.monitor import Mode
from callboard._core.objective_arguments import check_class_ids
from callboard.torch.losses.loss import EPSILON, weights_like
from callboard.torch.metrics.metric import Metric, Result

__all__ = ["BinaryIoU", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU"]


class _ConfusionMatrix(Metric):
    """Counts elements by true and by predicted class; the result is the IoU of chosen classes."""

    direction: Mode | None = "max"
    total_cm: Result

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None,
        *,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name)
        check_class_ids(target_class_ids, num_classes)
        self.num_classes = num_classes
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.add_state("total_cm")

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add a batch. Elements of classes that do not exist are left out.

        Args:
            y_true: Class numbers, or one-hot targets if ``sparse_y_true`` is False.
            y_pred: Class numbers, or probabilities if ``sparse_y_pred`` is False.
            sample_weight: One weight for each sample, or for each element.

        Raises:
            DataError: If there are not as many targets as predictions.
        """
        y_true, y_pred = torch.as_tensor(y_true), torch.as_tensor(y_pred)
        self._count(
            y_true.long() if self.sparse_y_true else y_true.argmax(self.axis),
            y_pred.long() if self.sparse_y_pred else y_pred.argmax(self.axis),
            sample_weight,
        )

    def _count(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> None:
        if y_true.numel() != y_pred.numel():
            raise DataError(
                f"y_true has shape {tuple(y_true.shape)} and y_pred {tuple(y_pred.shape)}; they "
                "need a class for each element"
            )
        weight = torch.ones(y_true.shape, device=y_true.device)
        if sample_weight is not None:
            weight = weights_like(weight, sample_weight).expand(y_true.shape)
        y_true, y_pred, weight = y_true.reshape(-1), y_pred.reshape(-1), weight.reshape(-1)
        known = (y_true >= 0) & (y_true < self.num_classes)
        known &= (y_pred >= 0) & (y_pred < self.num_classes)
        if self.ignore_class is not None:
            known &= y_true != self.ignore_class
        cell = torch.where(known, y_true * self.num_classes + y_pred, 0)
        # index_add, as bincount waits for a GPU to say how many bins there are.
        counts = torch.zeros(self.num_classes**2, device=weight.device)
        counts = counts.index_add(0, cell, torch.where(known, weight, 0.0))
        self.accumulate(total_cm=counts.reshape(self.num_classes, self.num_classes))

    def result(self) -> Result:
        """Return the mean IoU of the chosen classes that occur, 0 before the first batch."""
        if not isinstance(self.total_cm, Tensor) or not self.total_cm.ndim:
            return 0.0
        overlap = self.total_cm.diagonal()
        union = self.total_cm.sum(0) + self.total_cm.sum(1) - overlap
        # Gathered as Python numbers: an index tensor would have to be copied to the device.
        overlap = torch.stack([overlap[number] for number in self.target_class_ids])
        union = torch.stack([union[number] for number in self.target_class_ids])
        iou = torch.where(union > 1e-9, overlap / (union + EPSILON), 0.0)
        return iou.sum() / ((union > 1e-9).sum() + EPSILON)


class IoU(_ConfusionMatrix):
    """Mean over chosen classes of overlap / union of true and predicted elements.

    Args:
        num_classes: Number of classes.
        target_class_ids: The classes to average over.
        name: Name in the logs.
        ignore_class: A class of targets whose elements do not count.
        sparse_y_true: Targets are class numbers, not one-hot.
        sparse_y_pred: Predictions are class numbers, not probabilities.
        axis: Axis of the classes where there is one.

    Raises:
        ConfigurationError: If there is no such class.

    Example:
        >>> IoU(2, [0])([0, 0, 1, 1], [0, 1, 0, 1])
        tensor(0.3333)

    Source: Keras 3.15 ``keras.metrics.IoU``. Weights are not cut to whole numbers.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,  # noqa: FBT001, FBT002 - Keras's signature
        sparse_y_pred: bool = True,  # noqa: FBT001, FBT002 - Keras's signature
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            target_class_ids,
            name,
            ignore_class=ignore_class,
            sparse_y_true=sparse_y_true,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )


class MeanIoU(_ConfusionMatrix):
    """Mean over all classes of overlap / union of true and predicted elements.

    Args:
        num_classes: Number of classes.
        name: Name in the logs.
        ignore_class: A class of targets whose elements do not count.
        sparse_y_true: Targets are class numbers, not one-hot.
        sparse_y_pred: Predictions are class numbers, not probabilities.
        axis: Axis of the classes where there is one.

    Example:
        >>> MeanIoU(2)([0, 0, 1, 1], [0, 1, 0, 1])
        tensor(0.3333)

    Source: Keras 3.15 ``keras.metrics.MeanIoU``. Weights are not cut to whole numbers.
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,  # noqa: FBT001, FBT002 - Keras's signature
        sparse_y_pred: bool = True,  # noqa: FBT001, FBT002 - Keras's signature
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            range(num_classes),
            name,
            ignore_class=ignore_class,
            sparse_y_true=sparse_y_true,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )


class BinaryIoU(_ConfusionMatrix):
    """Mean IoU of the classes 0 and 1 for probabilities of 1.

    Args:
        target_class_ids: The classes to average over.
        threshold: From where on (inclusive) a prediction means 1.
        name: Name in the logs.

    Example:
        >>> BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])
        tensor(0.3333)

    Source: Keras 3.15 ``keras.metrics.BinaryIoU``. Weights are not cut to whole numbers.
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
    ) -> None:
        super().__init__(2, target_class_ids, name)
        self.threshold = threshold

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: 0 or 1, any shape.
            y_pred: Probabilities; same shape.
            sample_weight: One weight for each sample, or for each element.
        """
        yes = torch.as_tensor(y_pred) >= self.threshold
        self._count(torch.as_tensor(y_true).long(), yes.long(), sample_weight)


class OneHotIoU(_ConfusionMatrix):
    """Mean IoU of chosen classes for one-hot targets.

    Args:
        num_classes: Number of classes.
        target_class_ids: The classes to average over.
        name: Name in the logs.
        ignore_class: A class of targets whose elements do not count.
        sparse_y_pred: Predictions are class numbers, not probabilities.
        axis: Axis of the classes.

    Example:
        >>> OneHotIoU(2, [0])([[1, 0], [1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
        tensor(0.5000)

    Source: Keras 3.15 ``keras.metrics.OneHotIoU``. Weights are not cut to whole numbers.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            target_class_ids,
            name,
            ignore_class=ignore_class,
            sparse_y_true=False,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )


class OneHotMeanIoU(_ConfusionMatrix):
    """Mean IoU of all classes for one-hot targets.

    Args:
        num_classes: Number of classes.
        name: Name in the logs.
        ignore_class: A class of targets whose elements do not count.
        sparse_y_pred: Predictions are class numbers, not probabilities.
        axis: Axis of the classes.

    Example:
        >>> OneHotMeanIoU(2)([[1, 0], [1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
        tensor(0.5000)

    Source: Keras 3.15 ``keras.metrics.OneHotMeanIoU``. Weights are not cut to whole numbers.
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        axis: int = -1,
    ) -> None:
        super().__init__(
            num_classes,
            range(num_classes),
            name,
            ignore_class=ignore_class,
            sparse_y_true=False,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
        )
