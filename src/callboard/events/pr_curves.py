"""Precision against recall."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from callboard._core.errors import DataError
from callboard.events.protobuf import described, varint
from callboard.events.tensors import numbers, tensor_value

__all__ = ["pr_curve", "pr_curve_value"]

_SMALLEST = 1e-7


def pr_curve_value(tag: str, curve: npt.NDArray[np.float32]) -> bytes:
    """Return a curve that ``pr_curve`` gave.

    Raises:
        DataError: If ``tag`` is not a name.
    """
    # PrCurvePluginData.num_thresholds
    return tensor_value(tag, numbers(curve), "pr_curves", b"\x10" + varint(curve.shape[1]))


def pr_curve(
    labels: npt.ArrayLike,
    predictions: npt.ArrayLike,
    *,
    thresholds: int = 201,
    weights: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float32]:
    """Return precision and recall for thresholds at equal distances from 0 to 1.

    Args:
        labels: What is true, booleans or 0 and 1, of any shape.
        predictions: Probabilities, of the same shape.
        thresholds: How many.
        weights: What each prediction counts, of a shape that fits.

    Returns:
        Rows of true positives, false positives, true negatives, false negatives, precision and
        recall; float32, shape (6, thresholds).

    Raises:
        DataError: If the shapes differ, or predictions are no probabilities.

    Example:
        >>> curve = pr_curve([True, False, True, True], [0.9, 0.8, 0.3, 0.2], thresholds=3)
        >>> curve[4:].tolist()  # precision, recall
        [[0.75, 0.5, 0.0], [1.0, 0.3333333432674408, 0.0]]

    Source: ``pb`` of TensorBoard's ``plugins/pr_curve/summary.py``.
    """
    true = np.asarray(labels).astype(bool).ravel()
    scores = np.asarray(predictions, np.float64).ravel()
    if true.shape != scores.shape or not true.size:
        raise DataError(
            "a PR curve needs as many labels as predictions, and at least one; got "
            f"{described(np.asarray(labels))} and {described(np.asarray(predictions))}"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise DataError(
            "a PR curve needs probabilities from 0 to 1; they lie between "
            f"{scores.min():.3g} and {scores.max():.3g}"
        )
    if thresholds < 2:
        raise DataError(f"thresholds={thresholds} must be 2 or more")
    counted = np.ones(()) if weights is None else np.asarray(weights, np.float64)
    counted = np.broadcast_to(counted, np.asarray(labels).shape).ravel()
    bucket = np.floor(scores * (thresholds - 1)).astype(np.intp)
    positives, negatives = (
        np.bincount(bucket, weights=counted * kind, minlength=thresholds)[::-1].cumsum()[::-1]
        for kind in (true, ~true)
    )
    missed, rejected = positives[0] - positives, negatives[0] - negatives
    precision = positives / np.maximum(_SMALLEST, positives + negatives)
    recall = positives / np.maximum(_SMALLEST, positives + missed)
    rows = (positives, negatives, rejected, missed, precision, recall)
    return np.stack(rows).astype(np.float32)
