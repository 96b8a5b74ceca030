"""From a batch to its loss and predictions."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from callboard._core.batches import Batch
from callboard._core.errors import ConfigurationError, DataError
from callboard._core.objectives import Head, Objectives

__all__ = ["Outcome", "check_outputs", "check_targets", "outcome_of", "takes_probabilities"]


class Outcome(NamedTuple):
    """What a forward pass gave.

    Attributes:
        loss: The number to be made smaller, a 0-d array.
        parts: The loss of each head that has one.
        predictions: The predictions of each head, for its metrics.
    """

    loss: jax.Array
    parts: tuple[jax.Array, ...]
    predictions: tuple[Any, ...]


def outcome_of(objectives: Objectives, outputs: Any, batch: Batch) -> Outcome:
    """Return loss and predictions; may be traced.

    Raises:
        DataError: If there are no targets, or they do not fit the outputs.
        ConfigurationError: If there is no loss.
    """
    if batch.y is None:
        raise DataError("there are no targets: pass y, or data that yields (x, y)")
    if objectives.heads[0].key is None and not isinstance(outputs, jax.Array):
        raise ConfigurationError(
            f"the model returns a {type(outputs).__name__}, and there is one loss; give a loss for "
            "each output: loss=[...] or loss={...}"
        )
    parts = []
    total: jax.Array | None = None
    for head in objectives.heads:
        if head.loss is None:
            continue
        part = head.loss(head.of(batch.y), head.of(outputs), head.weight_of(batch.sample_weight))
        parts.append(part)
        weighted = part if head.weight == 1.0 else part * head.weight
        total = weighted if total is None else total + weighted
    if total is None:
        raise ConfigurationError("there is no loss; call model.compile(loss=...)")
    if total.ndim:
        raise ConfigurationError(
            f"the loss of a batch must be one number; it has shape {total.shape}; leave out "
            "reduction='none'"
        )
    return Outcome(total, tuple(parts), tuple(head.of(outputs) for head in objectives.heads))


def takes_probabilities(head: Head) -> bool:
    """Say whether a head's loss is computed from probabilities."""
    return head.loss is not None and head.loss.on_logits() is not None


def check_targets(objectives: Objectives, batch: Batch, predictions: tuple[Any, ...]) -> None:
    """Look whether the first batch's targets have values that the losses take.

    Args:
        objectives: The losses.
        batch: The batch; targets on a device are waited for.
        predictions: Shape and dtype of the predictions of each head.

    Raises:
        DataError: If not.
    """
    for head, prediction in zip(objectives.heads, predictions, strict=True):
        if head.loss is not None:
            head.loss.check_targets(head.of(batch.y), prediction)


def check_outputs(objectives: Objectives, outputs: Any) -> None:
    """Look whether the first batch's outputs are what the losses take; waits for the device.

    Raises:
        ConfigurationError: If a loss takes probabilities and the outputs are none.
    """
    for head in objectives.heads:
        if not takes_probabilities(head):
            continue
        values = head.of(outputs)
        low, high = float(values.min()), float(values.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise ConfigurationError(
                f"the loss {head.loss.name!r} takes probabilities, and the outputs lie between "
                f"{low:.3g} and {high:.3g}; end the model in jax.nn.softmax or jax.nn.sigmoid, or "
                "pass the loss's class from callboard.jax.losses with from_logits=True"
            )
