"""One step of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax

from callboard._core.batches import Batch
from callboard._core.logs import Logs
from callboard.jax.forward import (
    Outcome,
    check_outputs,
    check_targets,
    outcome_of,
    takes_probabilities,
)
from callboard.jax.scores import Scores, Sums

if TYPE_CHECKING:
    from callboard.jax.learner import Learner

__all__ = ["EvaluationStep"]


class EvaluationStep:
    """Forward pass and metrics, as one compiled function.

    Args:
        learner: What ``compile`` was called on.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._objectives = learner.require_compiled()
        self._scores = Scores(self._objectives)
        self._checked = not any(map(takes_probabilities, self._objectives.heads))
        self._add: Callable[..., Any] = self._added
        if learner.settings.compiled:
            self._add = jax.jit(self._added)
        self._nothing: Sums | None = None
        self._sums: Sums | None = None
        self._samples = 0

    def begin(self) -> None:
        """Begin the metrics anew."""
        self._sums, self._samples = self._nothing, 0

    def __call__(self, batch: Batch) -> int:
        """Add a batch; return its samples."""
        state = self._learner.state
        if not self._checked:
            check_outputs(self._objectives, self._learner.forward(batch.x))
            self._checked = True
        if self._sums is None:
            outcome = jax.eval_shape(self._outcome, state.params, state.rest, state.key, batch)
            check_targets(self._objectives, batch, outcome.predictions)
            nothing = self._scores.begin(outcome, batch)
            self._sums = self._nothing = self._learner.placement.state(nothing)
        self._sums = self._add(self._sums, state.params, state.rest, state.key, batch)
        samples = int(jax.tree.leaves(batch.x)[0].shape[0])
        self._samples += samples
        return samples

    def logs(self) -> Logs:
        """Return the metrics so far."""
        return self._scores.logs(self._sums, self._samples)

    def _outcome(self, params: Any, rest: Any, key: jax.Array, batch: Batch) -> Outcome:
        outputs, _ = self._learner.network.apply(
            params, rest, batch.x, jax.random.wrap_key_data(key), training=False
        )
        return outcome_of(self._objectives, outputs, batch)

    def _added(self, sums: Sums, params: Any, rest: Any, key: jax.Array, batch: Batch) -> Sums:
        samples = jax.tree.leaves(batch.x)[0].shape[0]
        outcome = self._outcome(params, rest, key, batch)
        return self._scores.added(sums, outcome, batch, samples)
