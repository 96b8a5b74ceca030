"""Loss and metrics of one pass over data, summed up on the device."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from callboard._core.batches import Batch
from callboard._core.errors import DataError
from callboard._core.logs import Logs, Mean
from callboard._core.objectives import Objectives
from callboard.jax.forward import Outcome
from callboard.jax.metrics import MeanMetric, Metric, results_of

__all__ = ["Scores", "Sums"]

Sums = dict[str, Any]
"""The sums of loss and metrics as a pytree: what a step takes, and returns with a batch more."""


class Scores:
    """How sums of loss and metrics begin, grow by a batch, and become logs.

    The sums themselves are values: a step returns new ones, so that logs handed out earlier stay
    what they were, and nothing is read from the device until somebody reads the logs.

    Args:
        objectives: What ``compile`` was given; its metrics are copied.
    """

    def __init__(self, objectives: Objectives) -> None:
        self._heads = objectives.heads
        self._metrics = [
            [(m, False) for m in copy.deepcopy(head.metrics)]
            + [(m, True) for m in copy.deepcopy(head.weighted_metrics)]
            for head in self._heads
        ]
        named = [f"{h.prefix}loss" for h in self._heads if h.prefix and h.loss is not None]
        self._loss_names = ["loss", *named]
        self._means: list[tuple[str, int, int]] = []  # name, and where the sums are
        self._others: list[tuple[str, int, int, Metric, str]] = []
        for i, (head, of_head) in enumerate(zip(self._heads, self._metrics, strict=True)):
            for j, (metric, _) in enumerate(of_head):
                if isinstance(metric, MeanMetric) and type(metric).result is MeanMetric.result:
                    self._means.append((head.prefix + metric.name, i, j))
                    continue
                for name in metric.directions():
                    self._others.append((head.prefix + name, i, j, metric, name))

    def begin(self, outcome: Outcome, batch: Batch) -> Sums:
        """Return sums of nothing, of the shapes that a batch like this one gives.

        Args:
            outcome: What ``jax.eval_shape`` says of such a batch.
            batch: The batch.
        """
        first = {
            "losses": [0.0 for _ in self._loss_names],
            "metrics": [[dict(metric.initial_state()) for metric, _ in of] for of in self._metrics],
        }
        shapes = jax.eval_shape(lambda o, b: self.added(first, o, b, 1), outcome, batch)
        sums: Sums = jax.tree.map(
            lambda begin, shape: jnp.broadcast_to(
                jnp.asarray(begin, dtype=shape.dtype), shape.shape
            ),
            first,
            shapes,
        )
        return sums

    def added(self, sums: Sums, outcome: Outcome, batch: Batch, samples: int) -> Sums:
        """Return the sums with a batch more; may be traced."""
        parts = [outcome.loss, *outcome.parts][: len(self._loss_names)]
        losses = [
            total + loss.astype(jnp.float32) * samples
            for total, loss in zip(sums["losses"], parts, strict=True)
        ]
        metrics = [
            [
                self._updated(metric, state, head, batch, prediction, weighted=weighted)
                for (metric, weighted), state in zip(of_head, states, strict=True)
            ]
            for head, of_head, states, prediction in zip(
                self._heads, self._metrics, sums["metrics"], outcome.predictions, strict=True
            )
        ]
        return {"losses": losses, "metrics": metrics}

    def logs(self, sums: Sums | None, samples: int) -> Logs:
        """Return the means so far, to be read when somebody reads them."""
        if sums is None:
            return Logs()
        values: dict[str, object] = {
            name: Mean(total, samples)
            for name, total in zip(self._loss_names, sums["losses"], strict=True)
        }
        metrics = sums["metrics"]
        for name, i, j in self._means:
            state = metrics[i][j]
            values[name] = Mean(state["total"], state["count"])
        for name, i, j, metric, own in self._others:
            values[name] = _Deferred(metric, metrics[i][j], own)
        return Logs(values)

    def restored(self, sums: Sums, saved: Any) -> Sums:
        """Return saved sums as arrays like those that there are.

        Raises:
            DataError: If they are the sums of other metrics.
        """
        given, own = jax.tree.leaves(saved), jax.tree.leaves(sums)
        wanted = jax.tree.structure(sums)
        same = str(jax.tree.structure(saved)) == str(wanted) and all(
            np.shape(a) == np.shape(b) for a, b in zip(given, own, strict=True)
        )
        if not same:
            raise DataError(
                "the saved run had other metrics; compile the model with the same, or begin anew "
                "in another folder"
            )
        arrays = [jnp.asarray(a, dtype=b.dtype) for a, b in zip(given, own, strict=True)]
        return jax.tree.unflatten(wanted, arrays)  # type: ignore[no-any-return] # as it was

    def _updated(
        self,
        metric: Metric,
        state: Mapping[str, Any],
        head: Any,
        batch: Batch,
        prediction: Any,
        *,
        weighted: bool,
    ) -> dict[str, Any]:
        weight = head.weight_of(batch.sample_weight) if weighted else None
        own = copy.copy(metric)
        own.load_state_dict(state)
        own.update_state(head.of(batch.y), prediction, weight)
        return own.state_dict()


class _Deferred:
    """A metric's result that is computed when it is read, from the state as it was."""

    __slots__ = ("_metric", "_name", "_state")

    def __init__(self, metric: Metric, state: Mapping[str, Any], name: str) -> None:
        self._metric = metric
        self._state = state
        self._name = name

    def __float__(self) -> float:
        own = copy.copy(self._metric)
        own.load_state_dict(jax.device_get(self._state))  # to where one device computes it
        return float(results_of(own)[self._name])
