"""One step of training as ``compile`` said, and several of them as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from callboard._core.batches import Batch
from callboard._core.logs import Logs
from callboard.jax.executions import Execution
from callboard.jax.forward import (
    Outcome,
    check_outputs,
    check_targets,
    outcome_of,
    takes_probabilities,
)
from callboard.jax.optimizers.resolve import require_optax
from callboard.jax.scores import Scores, Sums

if TYPE_CHECKING:
    from callboard.jax.learner import Learner

__all__ = ["TrainState", "TrainStep"]


class TrainState(NamedTuple):
    """All that training a model changes.

    Attributes:
        params: The parameters.
        rest: All other arrays of the model, such as the running means of a batch normalization.
        opt_state: The optimizer's state; None before ``compile``.
        key: The integers of the random key that the keys of all steps come from.
    """

    params: Any
    rest: Any
    opt_state: Any
    key: jax.Array


class TrainStep:
    """Forward pass, backward pass, update and metrics, as one compiled function.

    The state is given away to it (donated), so that the update happens in place: who wants to keep
    something of it copies it between two steps. The sums of the metrics are not, as logs hold them.

    Args:
        learner: What ``compile`` was called on.

    Raises:
        RunStateError: If it was not.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._network = learner.network
        self._objectives = learner.require_compiled()
        # Some optimizers ask for the loss: to lower the rate on a plateau, or to search a line.
        self._optimizer = require_optax().with_extra_args_support(
            learner.require_optimizer().wrapped
        )
        self._scores = Scores(self._objectives)
        self._compiled = learner.settings.compiled
        self._functions: dict[tuple[str, bool], Callable[..., Any]] = {}
        self._checked = not any(map(takes_probabilities, self._objectives.heads))
        self._gradients: Callable[..., Any] | None = None
        self._nothing: Sums | None = None  # sums before the first batch; never given away
        self._saved: Any = None  # sums to go on with, until there are some of their shapes
        self._sums: Sums | None = None
        self._samples = 0
        self._clear = learner.placement.state(jnp.zeros(2, jnp.float32))
        self.latest: Batch | None = None

    def begin_epoch(self, done: int = 0) -> None:
        """Begin the metrics anew, unless batches of the epoch are ``done`` already."""
        if not done:
            self._sums, self._saved, self._samples = self._nothing, None, 0

    def __call__(self, execution: Execution) -> int:
        """Train on the batches; return their samples."""
        if self._nothing is None or not self._checked or self._saved is not None:
            self._begin(execution)
        for batch in execution.batches:
            self._run(batch, stacked=execution.stacked)
        self._samples += execution.samples
        return execution.samples

    def logs(self) -> Logs:
        """Return the epoch's metrics so far."""
        # No batch may be left of an epoch that is gone on with: then the saved sums are its logs.
        return self._scores.logs(self._so_far, self._samples)

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics of batches that are done, as they are."""
        return {"sums": self._so_far, "samples": self._samples}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._saved, self._samples = state["sums"], state["samples"]
        self._sums = None

    def gradients(self, state: TrainState, batch: Batch) -> Any:
        """Return the gradients for a batch, with the random key that the next step will have."""
        if self._gradients is None:
            self._gradients = self._jitted(
                lambda s, b: self._loss_and_gradients(s, _split(s.key)[1], b)[1]
            )
        return self._gradients(state, batch)

    @property
    def _so_far(self) -> Any:
        return self._saved if self._sums is None else self._sums

    def _run(self, batch: Batch, *, stacked: bool) -> None:
        trainable = self._learner.trainable
        function = self._function(trainable.guards, stacked=stacked)
        mark = self._clear if trainable.mark is None else trainable.mark
        self._learner.state, self._sums, mark = function(
            self._learner.state, self._sums, mark, batch
        )
        if trainable.guards:
            trainable.mark = mark
        if trainable.active_averages is not None:
            trainable.active_averages.update()
        self.latest = jax.tree.map(lambda a: a[-1], batch) if stacked else batch

    def _begin(self, execution: Execution) -> None:
        """Find the mistakes that show at the first batch, and the shapes of the metrics' sums."""
        batch, state = execution.batches[0], self._learner.state
        if execution.stacked:
            batch = jax.tree.map(lambda a: a[0], batch)
        if not self._checked:
            check_outputs(self._objectives, self._learner.forward(batch.x))
            self._checked = True
        if self._nothing is None:
            outcome = jax.eval_shape(self._outcome, state, batch)
            check_targets(self._objectives, batch, outcome.predictions)
            nothing = self._scores.begin(outcome, batch)
            self._nothing = self._learner.placement.state(nothing)
        if self._saved is not None:
            restored = self._scores.restored(self._nothing, self._saved)
            self._sums, self._saved = self._learner.placement.state(restored), None
        elif self._sums is None:
            self._sums = self._nothing

    def _outcome(self, state: TrainState, batch: Batch) -> Outcome:
        return self._loss_and_gradients(state, _split(state.key)[1], batch)[0]

    def _function(self, guards: str, *, stacked: bool) -> Callable[..., Any]:
        wanted = (guards, stacked)
        if wanted not in self._functions:

            def step(state: TrainState, sums: Sums, mark: Any, batch: Batch) -> Any:
                return self._step(state, sums, mark, batch, guards)

            def steps(state: TrainState, sums: Sums, mark: Any, batches: Batch) -> Any:
                def body(carry: tuple[TrainState, Sums, Any], batch: Batch) -> Any:
                    return self._step(*carry, batch, guards), None

                return jax.lax.scan(body, (state, sums, mark), batches)[0]

            self._functions[wanted] = self._jitted(
                steps if stacked else step,
                donate_argnums=0,
                **self._learner.placement.results(self._learner.state),
            )
        return self._functions[wanted]

    def _jitted(self, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        if self._compiled:
            return jax.jit(function, **options)

        def eagerly(*arguments: Any) -> Any:
            with jax.disable_jit():
                return function(*arguments)

        return eagerly

    def _step(
        self, state: TrainState, sums: Sums, mark: jax.Array, batch: Batch, guards: str
    ) -> tuple[TrainState, Sums, jax.Array]:
        """Do one step. This is what is compiled."""
        key, used = _split(state.key)
        outcome, gradients, rest = self._loss_and_gradients(state, used, batch)

        def updated(before: TrainState) -> TrainState:
            updates, opt_state = self._optimizer.update(
                gradients,
                before.opt_state,
                before.params,
                value=outcome.loss,
                grad=gradients,
                value_fn=lambda params: self._loss(params, state, used, batch)[0],
            )
            params = jax.tree.map(lambda p, u: (p + u).astype(p.dtype), before.params, updates)
            return TrainState(params, rest, opt_state, key)

        if guards:
            watched = jax.tree.leaves(gradients) if guards == "gradients" else []
            mark = _marked(mark, outcome.loss, watched)
            after = _unless_marked(mark, updated, state)
        else:
            after = updated(state)
        samples = jax.tree.leaves(batch.x)[0].shape[0]
        return after, self._scores.added(sums, outcome, batch, samples), mark

    def _loss_and_gradients(
        self, state: TrainState, key: jax.Array, batch: Batch
    ) -> tuple[Outcome, Any, Any]:
        computed = jax.value_and_grad(self._loss, has_aux=True)
        (_, (outcome, rest)), gradients = computed(state.params, state, key, batch)
        return outcome, gradients, rest

    def _loss(
        self, params: Any, state: TrainState, key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, tuple[Outcome, Any]]:
        outputs, rest = self._network.apply(params, state.rest, batch.x, key, training=True)
        outcome = outcome_of(self._objectives, outputs, batch)
        return outcome.loss, (outcome, rest)


def _split(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the integers of the key to go on with, and a key to use."""
    kept, used = jax.random.split(jax.random.wrap_key_data(key))
    return jax.random.key_data(kept), used


def _marked(mark: jax.Array, loss: jax.Array, watched: list[jax.Array]) -> jax.Array:
    """Return the mark, set if something is not finite: 1 and the loss; the first one stays."""
    finite = jnp.isfinite(loss)
    for array in watched:
        finite &= jnp.isfinite(array).all()
    bad = jnp.stack([jnp.ones((), jnp.float32), loss.astype(jnp.float32)])
    return jnp.where((mark[0] == 0) & ~finite, bad, mark)


def _unless_marked(
    mark: jax.Array, updated: Callable[[TrainState], TrainState], state: TrainState
) -> TrainState:
    """Return the updated state, or the same one if the mark is set."""

    def by_branch() -> Any:
        return jax.lax.cond(mark[0] == 0, updated, lambda before: before, state)

    def by_choice() -> Any:
        return jax.tree.map(lambda a, b: jnp.where(mark[0] == 0, a, b), updated(state), state)

    # Choosing array by array copies the optimizer's state, a fifth of a small model's step; a
    # branch updates it in place, but on a GPU the host would wait in every step to decide on it.
    chosen = jax.lax.platform_dependent(cuda=by_choice, rocm=by_choice, default=by_branch)
    return TrainState(*chosen)
