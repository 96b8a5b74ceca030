"""Area under a curve over all thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from callboard._core.errors import DataError
from callboard._core.monitor import Mode
from callboard._core.objective_arguments import curve_thresholds, one_of
from callboard.torch.losses.loss import floating
from callboard.torch.metrics.decisions import ratio
from callboard.torch.metrics.histogram import Counts, Histogram
from callboard.torch.metrics.metric import Metric, Result

__all__ = ["AUC"]


class AUC(Metric):
    """Area under a curve over all thresholds: of the ROC, or of precision against recall.

    Args:
        num_thresholds: Number of thresholds, evenly spaced, that approximate the curve; > 1.
        curve: "ROC", "PR" or "PRGAIN".
        summation_method: "interpolation" (of the true positives for "PR", by the trapezoidal rule
            otherwise), "minoring" or "majoring".
        name: Name in the logs.
        thresholds: Thresholds between 0 and 1 to use instead.
        multi_label: Compute the area for each label, the last axis, and average.
        num_labels: Number of labels; not needed.
        label_weights: Weight of each label.
        from_logits: Whether predictions have not gone through a sigmoid.

    Raises:
        UnknownNameError: For an unknown curve or method.
        ConfigurationError: For less than two thresholds.

    Example:
        >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9])
        tensor(0.7500)

    Source: Keras 3.15 ``keras.metrics.AUC``; interpolation of precision-recall curves: Davis and
        Goadrich, ICML 2006.
    """

    direction: Mode | None = "max"
    histogram: Result

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: Literal["ROC", "PR", "PRGAIN"] = "ROC",
        summation_method: Literal["interpolation", "minoring", "majoring"] = "interpolation",
        name: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,  # noqa: FBT001, FBT002 - Keras's signature
    ) -> None:
        super().__init__(name)
        self.curve = one_of(curve.upper(), "curve", ("ROC", "PR", "PRGAIN"))
        self.summation_method = one_of(
            summation_method.lower(),
            "summation_method",
            ("interpolation", "minoring", "majoring"),
        )
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else torch.tensor(label_weights)
        self.from_logits = from_logits
        self._buckets = Histogram(curve_thresholds(num_thresholds, thresholds))
        self.num_thresholds = len(self._buckets.thresholds)
        self.add_state("histogram")

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: 0 or 1, shape (batch,) or (batch, labels).
            y_pred: Probabilities, or logits; same shape.
            sample_weight: One weight for each sample.

        Raises:
            DataError: If ``multi_label`` and predictions are not of shape (batch, labels).
        """
        score = floating(y_pred)
        if self.multi_label and (score.ndim != 2 or self.num_labels not in (None, score.shape[1])):
            raise DataError(
                f"AUC(multi_label=True) needs predictions of shape (batch, "
                f"{self.num_labels or 'labels'}); got {tuple(score.shape)}"
            )
        counts = self._buckets.counts(
            y_true,
            score.sigmoid() if self.from_logits else score,
            sample_weight,
            label_weight=None if self.multi_label else self.label_weights,
            by_label=self.multi_label,
        )
        self.accumulate(histogram=counts)

    def result(self) -> Result:
        """Return the area, 0 before the first batch."""
        if not isinstance(self.histogram, Tensor) or not self.histogram.ndim:
            return 0.0
        counts = self._buckets.by_threshold(self.histogram)
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = _interpolated(counts)
        else:
            x, y = _curve(self.curve, counts)
            areas = (x[:-1] - x[1:]) * _heights(self.summation_method, y)
        area = areas.sum(0)
        if not self.multi_label:
            return area
        if self.label_weights is None:
            return area.mean()
        weight = self.label_weights.to(area)
        return ratio((area * weight).sum(), weight.sum())


def _curve(curve: str, counts: Counts) -> tuple[Tensor, Tensor]:
    """Return x and y of the points of a curve, from the lowest threshold to the highest."""
    tp, fp, tn, fn = counts
    if curve == "ROC":
        return ratio(fp, fp + tn), ratio(tp, tp + fn)
    if curve == "PR":
        return ratio(tp, tp + fn), ratio(tp, tp + fp)
    scale = ratio(tp + fn, tn + fp)
    recall_gain = torch.where(tp == 0, 0.0, 1.0 - scale * ratio(fn, tp))
    precision_gain = torch.where(tp == 0, 1.0, 1.0 - scale * ratio(fp, tp))
    return recall_gain.clamp(min=0.0), precision_gain


def _heights(method: str, y: Tensor) -> Tensor:
    if method == "interpolation":
        return (y[:-1] + y[1:]) / 2.0
    return torch.minimum(y[:-1], y[1:]) if method == "minoring" else torch.maximum(y[:-1], y[1:])


def _interpolated(counts: Counts) -> Tensor:
    """Return the areas between points of the PR curve, true positives growing linearly."""
    tp, fp, _, fn = counts
    found, predicted = tp[:-1] - tp[1:], tp + fp
    slope = ratio(found, (predicted[:-1] - predicted[1:]).clamp(min=0))
    intercept = tp[1:] - slope * predicted[1:]
    safe = (predicted[:-1] > 0) & (predicted[1:] > 0)
    growth = torch.where(safe, ratio(predicted[:-1], predicted[1:]), 1.0)
    return ratio(slope * (found + intercept * growth.log()), tp[1:] + fn[1:])
