"""Predictions and targets as yes-no decisions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from callboard._core.errors import DataError
from callboard.jax.losses.loss import floating, same_rank, same_shape, weights_like

__all__ = ["NEVER", "Decisions", "decisions", "ratio"]

# Below every prediction: what a class outside of the k highest ones counts as.
NEVER = -1e10


class Decisions(NamedTuple):
    """Yes-no questions, their answers, and how much each counts; three arrays of one shape.

    Attributes:
        truth: Booleans.
        score: Predictions.
        weight: Weights, of the same type as the predictions.
    """

    truth: Array
    score: Array
    weight: Array


def decisions(
    y_true: Any,
    y_pred: Any,
    sample_weight: Array | None = None,
    *,
    top_k: int | None = None,
    class_id: int | None = None,
) -> Decisions:
    """Return every element of a batch as a decision.

    Args:
        y_true: 0 or 1, shape (batch,) or (batch, ...).
        y_pred: Scores; same shape.
        sample_weight: One weight for each sample.
        top_k: Only the k highest scores along the last axis may mean yes.
        class_id: Look at one class only, an index of the last axis.

    Raises:
        DataError: If the shapes do not fit.
    """
    score = floating(y_pred)
    truth, score = same_shape(*same_rank(jnp.asarray(y_true) != 0, score))
    weight = jnp.ones_like(score)
    if sample_weight is not None:
        weight = jnp.broadcast_to(weights_like(score, sample_weight), score.shape)
    if (top_k is not None or class_id is not None) and score.ndim < 2:
        raise DataError(
            "top_k and class_id need predictions of shape (batch, classes); got "
            f"{tuple(score.shape)}"
        )
    if top_k is not None:
        highest = jax.lax.top_k(score, top_k)[1]
        among = jax.nn.one_hot(highest, score.shape[-1], dtype=bool).any(-2)
        score = jnp.where(among, score, NEVER)
    if class_id is not None:
        truth, score, weight = (part[..., class_id] for part in (truth, score, weight))
    return Decisions(truth, score, weight)


def ratio(part: Array, whole: Array) -> Array:
    """Return part / whole, and 0 where the whole is 0."""
    return jnp.where(whole == 0, 0.0, part / whole)
