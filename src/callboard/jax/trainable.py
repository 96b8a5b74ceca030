"""A training state of JAX, as callbacks see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from callboard._core.errors import DataError, UnsupportedError
from callboard._core.learning_rate import valid_rate
from callboard._core.logs import Logs
from callboard.jax import files, processes
from callboard.jax.arrays import is_key, to_array
from callboard.jax.inspection import JaxInspection
from callboard.jax.leaves import Leaf, leaves_of, weights_of, with_values
from callboard.jax.rates import can_be_set, number_in, rates_of, scaled

if TYPE_CHECKING:
    from callboard.jax.averages import WeightAverages

__all__ = ["JaxTrainable", "Trained"]

Arrays = dict[str, np.ndarray[Any, Any]]


class Trained(Protocol):
    """What is trained: a ``Learner``, or the view of a loop of the user's own.

    Attributes:
        state: All that training changes, a pytree.
    """

    state: Any

    @property
    def steps_by_itself(self) -> bool:
        """Whether the steps are ours, so that they look at every loss."""

    def inputs_of(self, batch: Any) -> Any:
        """Return what of a batch goes into the network."""

    def activations(self, batch: Any) -> Mapping[str, jax.Array]:
        """Return what each layer gives out for a batch."""

    def gradients(self) -> Mapping[str, jax.Array]:
        """Return the gradients for the latest batch."""

    def averages(self, momentum: float) -> WeightAverages:
        """Return averages of the parameters."""


class JaxTrainable:
    """What callbacks may do to a state of JAX: :class:`callboard.Trainable` for JAX.

    Args:
        trained: The learner of a model, or the view of a state whose loop the user wrote.
        model: What callbacks see as ``model``.

    Attributes:
        in_use: Whether the process trains anything on JAX.
        guards: What a step has to look at before it updates: "", "loss" or "gradients".
        mark: What was not finite: an array of 1 (or 0) and the loss; None before the first step.
        active_averages: Averages that a step has to tell of its updates, or None.
    """

    in_use: ClassVar[bool] = False

    def __init__(self, trained: Trained, model: Any) -> None:
        JaxTrainable.in_use = True
        self.trained = trained
        self.model = model
        self.guards = ""
        self.mark: jax.Array | None = None
        self.active_averages: WeightAverages | None = None

    @property
    def state(self) -> Any:
        """All that training changes."""
        return self.trained.state

    @state.setter
    def state(self, state: Any) -> None:
        self.trained.state = state

    @property
    def inspection(self) -> JaxInspection:
        """What can be seen of the model, beyond its numbers."""
        return JaxInspection(self)

    @property
    def rank(self) -> int:
        """Number of this process among those that train together."""
        return jax.process_index()

    def reduced(self, logs: Logs) -> Logs:
        """Return metrics over the samples of all processes that train this state, once a pass."""
        return processes.reduced(logs) if processes.is_shared(self.state) else logs

    @property
    def synchronous(self) -> bool:
        """Reading a number waits for the steps that were sent to the device, on the CPU too."""
        return False

    @property
    def learning_rate(self) -> float:
        """The learning rate in the optimizer's state; several of them keep their ratios.

        Where schedules set some of them, it is the first of the others.
        """
        return number_in(rates_of(self._leaves())[0])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        rate, leaves = valid_rate(value), self._leaves()
        rates = rates_of(leaves)
        if not can_be_set(leaves):
            raise UnsupportedError(
                f"{self.rate_controller} sets the learning rate anew in every step, so nothing "
                "else can; make it with a number, as in "
                "optax.inject_hyperparams(optax.adam)(learning_rate=0.001)"
            )
        self.state = with_values(self.state, scaled(rates, rate))

    @property
    def rate_controller(self) -> str:
        """A schedule inside the optimizer, which sets the rate anew in every step."""
        return "" if self.rate_can_be_set else "a schedule in the optimizer"

    @property
    def rate_can_be_set(self) -> bool:
        """Whether no schedule in the optimizer would set the learning rate back."""
        return can_be_set(self._leaves())

    def weights(self, into: Arrays | None = None) -> Arrays:
        """Copy all weights to the host, into arrays from an earlier call if given."""
        current = self._current_weights()
        _fetch(leaf.value for leaf in current.values())
        if into is None or into.keys() != current.keys():
            return {name: to_array(leaf.value).copy() for name, leaf in current.items()}
        for name, leaf in current.items():
            np.copyto(into[name], to_array(leaf.value))
        return into

    def set_weights(self, weights: Mapping[str, Any]) -> None:
        """Put weights into the state, placed on the devices as those that are there.

        Raises:
            DataError: If names, shapes or types differ; then nothing is changed.
        """
        current = self._current_weights()
        _check_names(current, weights, "weights")
        self.state = with_values(self.state, {current[n].name: weights[n] for n in weights})

    def nonfinite(self) -> str:
        """Return the name of a weight that holds NaN or an infinity, or an empty string."""
        current = {n: leaf.value for n, leaf in self._current_weights().items()}
        if not current:
            return ""
        flags = np.asarray(_all_finite(list(current.values())))  # waited for once
        return next((name for name, flag in zip(current, flags, strict=True) if not flag), "")

    def gradients(self) -> Arrays:
        """Return the gradients of the latest batch, at the weights there are now."""
        return {name: to_array(value) for name, value in self.trained.gradients().items()}

    def activations(self, inputs: Any) -> Arrays:
        """Return what each layer gives out for a batch's inputs, in evaluation mode."""
        return {name: to_array(value) for name, value in self.trained.activations(inputs).items()}

    def check_path(self, path: Path, *, weights_only: bool) -> None:  # noqa: ARG002 - the protocol's
        """Raise if ``save`` cannot write such a file: unknown suffix, missing package."""
        files.check_path(path)

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the file durably and whole, in the format of its suffix, or leave the old one."""
        parts = self.state_dict()
        weights = parts.pop("weights")
        files.write(path, files.Saved(weights, {} if weights_only else parts))

    def load(self, path: Path, *, weights_only: bool) -> None:
        """Read what ``save`` wrote, back into the state.

        Raises:
            FileFormatError: If the file is damaged or of another format.
            DataError: If names, shapes or types differ; then nothing is changed.
        """
        saved = files.read(path)
        if weights_only or not saved.training:
            self.set_weights(saved.weights)
        else:
            self.load_state_dict({"weights": saved.weights, **saved.training})

    def averages(self, source: Any = None) -> WeightAverages:
        """Return averages of the parameters, which follow the updates from now on.

        Raises:
            UnsupportedError: Without a momentum, and in a loop of the user's own.
        """
        if not isinstance(source, float):
            raise UnsupportedError(
                "optimizers of optax keep no averages that could be had from them; pass "
                "SwapEMAWeights(momentum=0.99)"
            )
        return self.trained.averages(source)

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimizer and the rest (random keys, counters) by name, as they are."""
        leaves = self._leaves()
        parts: dict[str, Any] = {
            "weights": {name: leaf.value for name, leaf in weights_of(leaves).items()},
            "optimizer": {leaf.name: leaf.value for leaf in leaves if leaf.role == "optimizer"},
            "rest": {leaf.name: leaf.value for leaf in leaves if leaf.role == "rest"},
        }
        return {
            part: {n: jax.random.key_data(v) if is_key(v) else v for n, v in values.items()}
            for part, values in parts.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If it is the state of another model or optimizer; then nothing is changed.
        """
        leaves = self._leaves()
        weights = weights_of(leaves)
        _check_names(weights, state.get("weights", {}), "weights")
        values = {weights[name].name: value for name, value in state["weights"].items()}
        for part in ("optimizer", "rest"):
            own = {leaf.name: leaf for leaf in leaves if leaf.role == part}
            _check_names(own, state.get(part, {}), part)
            values.update(state.get(part, {}))
        self.state = with_values(self.state, values)

    def guard(self, *, gradients: bool) -> bool:
        """Begin to reject updates whose loss, or on request whose gradients, are not finite.

        Returns:
            Whether every loss is looked at: not in a loop of the user's own.
        """
        if not self.trained.steps_by_itself:
            if gradients:
                raise UnsupportedError(
                    "in a loop of your own on JAX the gradients are inside of your jitted step; "
                    "put optax.apply_if_finite around the optimizer, or log their norm"
                )
            return False
        self.guards = "gradients" if gradients else "loss"
        self.mark = None
        return True

    def unguard(self) -> None:
        """Let every update through again."""
        self.guards = ""

    @property
    def rejected(self) -> str:
        """What was not finite in an update that was rejected since ``guard``; waits for it."""
        if self.mark is None:
            return ""
        bad, loss = np.asarray(self.mark)
        if not bad:
            return ""
        return "gradient" if np.isfinite(loss) else f"loss: {loss}"

    def _leaves(self) -> list[Leaf]:
        return leaves_of(self.state)

    def _current_weights(self) -> dict[str, Leaf]:
        return weights_of(self._leaves())


def _check_names(own: Mapping[str, Leaf], given: Mapping[str, Any], what: str) -> None:
    missing, unknown = own.keys() - given.keys(), given.keys() - own.keys()
    if missing or unknown:
        raise DataError(
            f"the {what} are those of another model or optimizer: missing "
            f"{sorted(missing) or 'none'}, unknown {sorted(unknown) or 'none'}"
        )


@jax.jit
def _all_finite(arrays: list[jax.Array]) -> jax.Array:
    return jnp.stack([jnp.isfinite(array).all() for array in arrays])


def _fetch(arrays: Iterable[Any]) -> None:
    """Begin to copy arrays to the host, all at the same time."""
    for array in arrays:
        if isinstance(array, jax.Array) and array.is_fully_addressable and not array.is_deleted():
            array.copy_to_host_async()
