"""The little that callbacks may do to what is being trained."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from callboard._core import frameworks
from callboard._core.errors import ConfigurationError, DataError, UnsupportedError
from callboard._core.logs import Logs

__all__ = [
    "Averages",
    "NoModel",
    "Trainable",
    "check_state",
    "trainable_of",
    "trainable_of_state",
]

Arrays = dict[str, np.ndarray[Any, Any]]


class Averages(Protocol):
    """Averages of a model's weights over the updates, which can be put in their place.

    The averages themselves are not changed by that: the model's own weights are kept beside them.
    """

    @property
    def in_model(self) -> bool:
        """Whether the averages are in the model."""

    def put(self) -> None:
        """Have the averages in the model, if there are any yet, and keep its own weights."""

    def take(self) -> None:
        """Put the model's own weights back."""

    def leave(self) -> None:
        """Leave the averages in the model for good."""

    def close(self) -> None:
        """Follow the updates no longer."""

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept, as it is and not copied."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""


class Trainable(Protocol):
    """A model and its optimizer, as callbacks see them; each framework implements it once.

    Arrays are NumPy arrays on the host. A dtype that NumPy lacks is a structured one with a single
    field named after it, such as ``[("bfloat16", "<u2")]``.

    Attributes:
        model: What callbacks receive as ``self.model``.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(2, 1)
        >>> trainable = trainable_of(net, torch.optim.SGD(net.parameters(), lr=0.1))
        >>> trainable.learning_rate /= 2
        >>> trainable.learning_rate, sorted(trainable.weights())
        (0.05, ['bias', 'weight'])
    """

    model: Any

    @property
    def rank(self) -> int:
        """Number of this process among those that train together; 0 writes files and prints."""

    def reduced(self, logs: Logs) -> Logs:
        """Return metrics over the samples of all processes; called by all, once a pass."""

    @property
    def synchronous(self) -> bool:
        """Whether reading a number costs no wait for a device."""

    @property
    def learning_rate(self) -> float:
        """Learning rate of the optimizer's first group."""

    @learning_rate.setter
    def learning_rate(self, value: float) -> None: ...

    @property
    def rate_controller(self) -> str:
        """Name of the framework's own scheduler of this optimizer, or an empty string."""

    def weights(self, into: Arrays | None = None) -> Arrays:
        """Copy all weights and buffers to the host, into arrays from an earlier call if given."""

    def set_weights(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write weights and buffers back."""

    def nonfinite(self) -> str:
        """Return the name of a weight that holds NaN or an infinity, or an empty string."""

    def gradients(self) -> Arrays:
        """Copy the latest gradients to the host; weights without one are left out."""

    def activations(self, inputs: Any) -> Arrays:
        """Return what each layer gives out for a batch, in evaluation mode, leaving no trace."""

    def check_path(self, path: Path, *, weights_only: bool) -> None:
        """Raise if ``save`` cannot write such a file: unknown suffix, missing package."""

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the file durably and whole, in the format of its suffix, or leave the old one."""

    def averages(self, source: Any = None) -> Averages:
        """Return averages of the weights that are trained, which follow the updates from now on.

        Args:
            source: Momentum to keep them with, or the framework's own object that keeps them;
                None for those that the optimizer keeps.

        Raises:
            UnsupportedError: If there are none from that source.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all that training goes on from, as it is and not copied.

        Returns:
            Nested state by parts, such as "weights", "frozen" (weights that are not trained) and
            "optimizer". Values may be arrays of the framework.
        """

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If it is the state of another model or optimizer; then nothing is changed.
        """

    def guard(self, *, gradients: bool) -> bool:
        """Begin to reject updates whose loss, or on request whose gradients, are not finite.

        Returns:
            Whether every loss is looked at; where not, the caller has to look at the logs.
        """

    def unguard(self) -> None:
        """Let every update through again."""

    @property
    def rejected(self) -> str:
        """What was not finite in an update that was rejected since ``guard``, or nothing."""


class NoModel:
    """Stands for the model of a run that was given none: what needs a model is an error.

    Args:
        advice: What to do to have one.
    """

    synchronous = True
    rank = 0
    rate_controller = ""
    rejected = ""
    active_guard = None
    rate_can_be_set = True  # as far as is known: whether there is a rate is asked elsewhere
    inspection = None

    def __init__(self, advice: str = "pass Run(model=..., optimizer=...)") -> None:
        self.model = types.SimpleNamespace(stop_training=False)
        self.advice = advice

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__") or name == "advice"
        ):  # copy and pickle look for methods that need not be there
            raise AttributeError(name)
        raise UnsupportedError(
            f"this needs the model ({name.replace('_', ' ')}), and the run was given none; "
            f"{self.advice}"
        )

    def guard(self, *, gradients: bool) -> bool:
        """Without a model there is no update to reject; gradients cannot be looked at."""
        if gradients:
            self.__getattr__("gradients")
        return False

    def state_dict(self) -> dict[str, Any]:
        """There is nothing to save."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """There was nothing to save.

        Raises:
            DataError: If there was.
        """
        if state:
            raise DataError(
                f"the saved run had a model ({', '.join(sorted(state))}), and this one has none; "
                f"{self.advice}"
            )

    def check_state(self, *, weights_only: bool) -> None:
        """There is no state that could be lost."""

    def unguard(self) -> None:
        """Nothing was guarded."""

    def reduced(self, logs: Logs) -> Logs:
        """There is one process."""
        return logs


def check_state(trainable: Trainable, *, weights_only: bool = False) -> None:
    """Ask before the first batch whether the state, or the weights, can be taken and put back.

    A Trainable that knows of models where this is not so has a method ``check_state`` that says it.

    Raises:
        UnsupportedError: If they cannot.
    """
    check = getattr(trainable, "check_state", None)
    if check is not None:
        check(weights_only=weights_only)


def trainable_of(model: object, optimizer: object) -> Trainable:
    """Return the view of a model and its optimizer that its framework gives.

    No framework is imported to ask: whoever passes a torch module has imported torch.

    Raises:
        UnsupportedError: For an optimizer without a model, and for a model of an unknown kind.
    """
    if model is None:
        if optimizer is not None:
            raise UnsupportedError(
                "Run(optimizer=...) needs the model too: Run(model=..., optimizer=...)"
            )
        return NoModel()
    for _, framework in frameworks.loaded():
        found: Trainable | None = framework.trainable(model, optimizer)
        if found is not None:
            return found
    raise UnsupportedError(
        f"Run(model=...) got a {type(model).__name__}, which is of none of the known frameworks "
        f"({', '.join(frameworks.FRAMEWORKS)}); leave model out for a loop that only logs numbers"
    )


def trainable_of_state(state: object) -> Trainable:
    """Return the view of a training state that its framework gives.

    Raises:
        ConfigurationError: If no framework whose loops have one is imported.
    """
    for _, framework in frameworks.loaded():
        found: Trainable | None = framework.state_trainable(state)
        if found is not None:
            return found
    raise ConfigurationError(
        "Run(state=...) is for loops on JAX, which the program has not imported; for a torch "
        "module pass Run(model=..., optimizer=...)"
    )
