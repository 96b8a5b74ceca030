"""A network that learns: its arrays as they are now, and the compiled steps that change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from callboard._core.errors import RunStateError, UnsupportedError
from callboard._core.objectives import Objectives
from callboard.jax.arrays import to_array
from callboard.jax.averages import WeightAverages
from callboard.jax.data import arrays_of
from callboard.jax.evaluation import EvaluationStep
from callboard.jax.executions import Execution
from callboard.jax.leaves import leaves_of
from callboard.jax.networks import Network, copied
from callboard.jax.optimizers import Optimizer, composed, name_of, resolve_optimizer
from callboard.jax.placement import Placement
from callboard.jax.settings import Settings
from callboard.jax.steps import TrainState, TrainStep
from callboard.jax.trainable import JaxTrainable

__all__ = ["Learner"]


class Learner:
    """A network with its arrays, the optimizer, and the steps that ``compile`` described.

    While it is fitted the arrays are values that go from step to step; otherwise a module of nnx
    has them in it.

    Args:
        network: The network; its arrays are copied.
        placement: Where batches and state lie on the devices.
        seed: Chooses the random numbers.
        model: What callbacks see as ``model``.

    Attributes:
        trainable: What callbacks may do to it.
        optimizer: The optimizer, after ``compile``.
        objectives: Loss and metrics, after ``compile``.
        settings: The other options of ``compile``.
        is_fitted: Whether its own steps train it at the moment.
    """

    def __init__(self, network: Network, placement: Placement, *, seed: int, model: Any) -> None:
        self.network = network
        self.placement = placement
        self.optimizer: Optimizer | None = None
        self.objectives: Objectives | None = None
        self.settings = Settings()
        self.is_fitted = False
        self.trainable = JaxTrainable(self, model)
        self._key = jax.random.key(seed)
        self._state: TrainState | None = None
        self._train_step: TrainStep | None = None
        self._evaluation_step: EvaluationStep | None = None
        self._jitted: dict[str, Callable[..., Any]] = {}
        if network.is_built:
            self._take_arrays()

    @property
    def module(self) -> Any:
        """The module with the arrays as they are now; of linen or a function, the arrays."""
        state = self.state
        return self.network.put_back(state.params, state.rest)

    @property
    def state(self) -> TrainState:
        """All that training changes.

        Raises:
            RunStateError: If there are no parameters yet.
        """
        if self._state is None:
            self._take_arrays()
        if self._state is None:
            raise RunStateError("the model has no parameters; call model.build(x) first")
        return self._state

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state = state
        if not self.is_fitted:
            self._put_back()

    @property
    def steps_by_itself(self) -> bool:
        """Whether ``fit`` trains it by the step that ``compile`` described."""
        return self.is_fitted

    @property
    def train_step(self) -> TrainStep:
        """The compiled step, the same from one ``fit`` to the next."""
        if self._train_step is None:
            self._train_step = TrainStep(self)
        return self._train_step

    @property
    def evaluation_step(self) -> EvaluationStep:
        """The compiled step of an evaluation."""
        if self._evaluation_step is None:
            self._evaluation_step = EvaluationStep(self)
        return self._evaluation_step

    def build(self, x: Any) -> None:
        """Make the arrays of a module of linen for such inputs, or None; others have theirs.

        Raises:
            RunStateError: If there are none yet and x is None.
        """
        if not self.network.is_built and x is not None:
            self._key, used = jax.random.split(self._key)
            self.network.build(arrays_of(x), used)
        if self._state is None:
            self._take_arrays()

    def compile(self, optimizer: Any, objectives: Objectives, settings: Settings) -> None:
        """Take what ``Model.compile`` was told; the optimizer begins anew."""
        wrapped = composed(resolve_optimizer(optimizer), settings)
        self.optimizer = Optimizer(self.trainable, wrapped, name_of(optimizer))
        self.settings, self.objectives = settings, objectives
        self._train_step = self._evaluation_step = None
        if self._state is not None:
            opt_state = self.placement.state(self._opt_state(self._state.params))
            self._state = self._state._replace(opt_state=opt_state)

    @contextmanager
    def fitted(self) -> Iterator[None]:
        """Have its own steps train it; afterwards its module has the arrays."""
        before, self.is_fitted = self.is_fitted, True
        try:
            yield
        finally:
            self.is_fitted = before
            self._put_back()

    def forward(self, x: Any) -> Any:
        """Return the outputs for a batch of inputs that are arrays, in evaluation mode."""
        state = self.state
        return self._function("forward", self._forward)(state.params, state.rest, state.key, x)

    def inputs_of(self, batch: Any) -> Any:
        """Return what of a batch, or of what is trained on at once, goes into the network."""
        if isinstance(batch, Execution):
            batch = batch.first()
        return arrays_of(batch[0] if isinstance(batch, tuple | list) else batch)

    def activations(self, batch: Any) -> Mapping[str, jax.Array]:
        """Return what each layer gives out for a batch, in evaluation mode.

        Raises:
            UnsupportedError: If it is a function, which has no layers.
        """
        state = self.state
        recorded = self._function("recorded", self.network.recorded)
        found: Mapping[str, jax.Array] = recorded(state.params, state.rest, self.inputs_of(batch))
        return found

    def gradients(self) -> Mapping[str, jax.Array]:
        """Return the gradients for the latest batch that it was trained on, by weight.

        Raises:
            UnsupportedError: If there was none.
        """
        step = self.train_step
        if step.latest is None:
            raise UnsupportedError("there are no gradients before the first batch")
        found = step.gradients(self.state, step.latest)
        return {leaf.name: leaf.value for leaf in leaves_of(found)}

    def averages(self, momentum: float) -> WeightAverages:
        """Return moving averages of the parameters, which follow the updates from now on.

        Raises:
            RunStateError: If the model is not compiled.
            UnsupportedError: If its optimizer does not count.
        """
        self.require_compiled()
        return WeightAverages(self, momentum)

    def known_metrics(self) -> dict[str, Any] | None:
        """Return the names that ``fit`` will log, each with its better direction, if known."""
        return None if self.objectives is None else self.objectives.directions

    def draw_seed(self) -> int:
        """Return a number from the random key, which becomes another one."""
        if self._state is None:
            self._key, used = jax.random.split(self._key)
        else:
            data = to_array(self._state.key)  # on one device, whatever the state lies on
            key, used = jax.random.split(jax.random.wrap_key_data(jnp.asarray(data)))
            data = self.placement.state(jax.random.key_data(key))
            self._state = self._state._replace(key=data)
        return int(jax.random.randint(used, (), 0, np.iinfo(np.int32).max))

    def require_optimizer(self) -> Optimizer:
        """Return the optimizer.

        Raises:
            RunStateError: If the model is not compiled.
        """
        if self.optimizer is None:
            raise RunStateError("the model has no optimizer; call model.compile(...) first")
        return self.optimizer

    def require_compiled(self) -> Objectives:
        """Return loss and metrics.

        Raises:
            RunStateError: If the model is not compiled.
        """
        if self.objectives is None:
            raise RunStateError(
                "the model is not compiled; call model.compile(optimizer=..., loss=...) first"
            )
        return self.objectives

    def _take_arrays(self) -> None:
        params, rest = self.placement.state(self.network.arrays())
        key = jax.random.key_data(self._key)
        state = TrainState(params, rest, self._opt_state(params), key)
        self._state = self.placement.state(state)

    def _opt_state(self, params: Any) -> Any:
        """Return how the optimizer begins, in arrays of its own, as they are given away.

        That of a line search has the parameters in it, and others one array twice.
        """
        return None if self.optimizer is None else copied(self.optimizer.wrapped.init(params))

    def _put_back(self) -> None:
        """Have a module of nnx hold the arrays as they are now."""
        if self._state is not None:
            self.network.put_back(self._state.params, self._state.rest)

    def _forward(self, params: Any, rest: Any, key: jax.Array, x: Any) -> Any:
        used = jax.random.wrap_key_data(key)
        return self.network.apply(params, rest, x, used, training=False)[0]

    def _function(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        if not self.settings.compiled:
            return function
        if name not in self._jitted:
            self._jitted[name] = jax.jit(function)
        return self._jitted[name]
