"""Means of precision and recall."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from callboard._core.errors import ConfigurationError, DataError
from callboard._core.monitor import Mode
from callboard._core.objective_arguments import Average, check_average
from callboard.jax.losses.loss import EPSILON, aligned, weights_like
from callboard.jax.metrics.metric import Metric, Result

__all__ = ["F1Score", "FBetaScore"]


class FBetaScore(Metric):
    """Weighted harmonic mean of precision and recall.

    Args:
        average: "micro" counts over all classes, "macro" averages the classes' scores, "weighted"
            does by their share of the targets; None gives a score for each class, which logs
            cannot hold.
        beta: How much more recall counts than precision, > 0.
        threshold: From where on a prediction means yes, 0 < threshold ≤ 1; None takes the highest
            prediction of each sample.
        name: Name in the logs.

    Raises:
        UnknownNameError: For an unknown average.
        ConfigurationError: If ``beta`` or ``threshold`` are out of range.

    Example:
        >>> metric = FBetaScore("macro", beta=2.0)
        >>> metric([[1, 0], [0, 1], [1, 0]], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        Array(0.6944444, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.FBetaScore``.
    """

    direction: Mode | None = "max"
    true_positives: Result
    false_positives: Result
    false_negatives: Result
    intermediate_weights: Result

    def __init__(
        self,
        average: Average | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
    ) -> None:
        super().__init__(name)
        check_average(average)
        if not beta > 0:
            raise ConfigurationError(f"beta must be greater than 0; got {beta!r}")
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigurationError(f"threshold must be in (0, 1] or None; got {threshold!r}")
        self.average = average
        self.beta = beta
        self.threshold = threshold
        for part in ("true_positives", "false_positives", "false_negatives"):
            self.add_state(part)
        self.add_state("intermediate_weights")

    def update_state(
        self, y_true: Array, y_pred: Array, sample_weight: Array | None = None
    ) -> None:
        """Add a batch.

        Args:
            y_true: 0 or 1, shape (batch, classes).
            y_pred: Probabilities; same shape.
            sample_weight: One weight for each sample.

        Raises:
            DataError: For other shapes.
        """
        y_true, y_pred = aligned(y_true, y_pred)
        if y_pred.ndim != 2:
            raise DataError(
                f"{type(self).__name__} needs one-hot targets and predictions of shape (batch, "
                f"classes); got {tuple(y_pred.shape)}"
            )
        if self.threshold is None:
            highest = y_pred >= y_pred.max(-1, keepdims=True)
            yes = (highest & (jnp.abs(y_pred) > 1e-9)).astype(y_pred.dtype)
        else:
            yes = (y_pred > self.threshold).astype(y_pred.dtype)
        weight = 1.0 if sample_weight is None else weights_like(y_pred, sample_weight)
        axis = None if self.average == "micro" else 0
        self.accumulate(
            true_positives=(yes * y_true * weight).sum(axis),
            false_positives=(yes * (1.0 - y_true) * weight).sum(axis),
            false_negatives=((1.0 - yes) * y_true * weight).sum(axis),
            intermediate_weights=(y_true * weight).sum(axis),
        )

    def result(self) -> Result:
        """Return the score, 0 before the first batch; without average one for each class."""
        found = jnp.asarray(self.true_positives)
        precision = found / (found + self.false_positives + EPSILON)
        recall = found / (found + self.false_negatives + EPSILON)
        squared = self.beta**2
        score = (1.0 + squared) * precision * recall / (squared * precision + recall + EPSILON)
        if self.average == "weighted":
            weight = jnp.asarray(self.intermediate_weights)
            return (score * weight / (weight.sum() + EPSILON)).sum()
        return score if self.average is None else score.mean()


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall.

    Args:
        average: As for :class:`FBetaScore`.
        threshold: As for :class:`FBetaScore`.
        name: Name in the logs.

    Example:
        >>> F1Score("micro")([[1, 0], [0, 1], [1, 0]], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
        Array(0.6666666, dtype=float32)

    Source: Keras 3.15 ``keras.metrics.F1Score``.
    """

    def __init__(
        self,
        average: Average | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
    ) -> None:
        super().__init__(average, 1.0, threshold, name)
