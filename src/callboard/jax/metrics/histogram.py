"""Counts for many thresholds at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from callboard._core.objective_arguments import EPSILON
from callboard.jax.metrics.decisions import decisions

__all__ = ["Counts", "Histogram"]


class Counts(NamedTuple):
    """Weighted numbers of decisions by truth and outcome, for each threshold.

    Attributes:
        tp: True positives.
        fp: False positives.
        tn: True negatives.
        fn: False negatives.
    """

    tp: Array
    fp: Array
    tn: Array
    fn: Array


class Histogram:
    """Where the scores of right and of wrong samples lie between thresholds.

    Bucket 0 lies below all thresholds, bucket i between threshold i - 1, which is not in it, and
    threshold i. The counts for every threshold follow from that, in one addition per sample.

    Args:
        thresholds: In ascending order.

    Example:
        >>> histogram = Histogram([0.0, 0.5, 1.0])
        >>> counts = histogram.counts([0, 1], jnp.array([0.4, 0.6]))
        >>> tp, fp, tn, fn = histogram.by_threshold(counts)
        >>> tp, fp
        (Array([1., 1., 0.], dtype=float32), Array([1., 0., 0.], dtype=float32))
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        self.thresholds = jnp.array(thresholds, dtype=jnp.float32)
        number = len(thresholds)
        spaced = np.arange(number, dtype=np.float32) / max(number - 1, 1)
        self._even = number >= 3 and bool(np.allclose(thresholds, spaced, atol=2 * EPSILON))
        self._includes_zero = thresholds[0] < 0.0

    def counts(
        self,
        y_true: Any,
        y_pred: Any,
        sample_weight: Array | None = None,
        *,
        class_id: int | None = None,
        label_weight: Array | None = None,
        by_label: bool = False,
    ) -> Array:
        """Return the weights of a batch by truth and bucket.

        Returns:
            Shape (2, thresholds + 1), or (2, thresholds + 1, labels) if ``by_label``; first right
            (target 1), then wrong samples.
        """
        truth, score, weight = decisions(y_true, y_pred, sample_weight, class_id=class_id)
        if label_weight is not None:
            weight = weight * label_weight.astype(weight.dtype)
        labels = score.shape[-1] if by_label else 1
        buckets = len(self.thresholds) + 1
        index = self._bucket(score) + buckets * (~truth).astype(jnp.int32)
        if by_label:
            index = index * labels + jnp.arange(labels)
        counts = jnp.zeros(2 * buckets * labels, dtype=weight.dtype)
        counts = counts.at[index.reshape(-1)].add(weight.reshape(-1))
        return counts.reshape((2, buckets, labels) if by_label else (2, buckets))

    def by_threshold(self, counts: Array) -> Counts:
        """Return true and false positives, true and false negatives, for each threshold."""
        number = len(self.thresholds)
        # A sum over all buckets above, written out: cumsum is not deterministic on a GPU.
        above = jnp.triu(jnp.ones((number, number + 1)), 1)
        above = above.reshape(number, number + 1, *(1 for _ in counts.shape[2:]))
        right, wrong = counts
        tp, fp = (above * right).sum(1), (above * wrong).sum(1)
        return Counts(tp, fp, wrong.sum(0) - fp, right.sum(0) - tp)

    def _bucket(self, score: Array) -> Array:
        """Return how many thresholds lie below each score."""
        if not self._even:
            return jnp.searchsorted(self.thresholds, score)
        # Keras's rounding for evenly spaced thresholds, so that ties fall to the same side.
        bucket = jnp.ceil(jnp.clip(score, 0.0, 1.0) * (len(self.thresholds) - 1)).astype(jnp.int32)
        return jnp.maximum(bucket, 1) if self._includes_zero else bucket
