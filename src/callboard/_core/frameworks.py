"""The frameworks that are loaded, asked without importing one.

A framework's folder in this package is named after the module that its users import. It has the
functions of :class:`Framework`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from callboard._core.errors import UnsupportedError

if TYPE_CHECKING:
    from callboard._core.inspection import Profiler

__all__ = ["FRAMEWORKS", "Framework", "join_host", "loaded", "profiler_of", "revived", "source_of"]

# Keras comes first: on its torch backend, its models are torch modules too.
FRAMEWORKS = ("keras", "jax", "torch")


class Framework(Protocol):
    """What each framework's folder has."""

    def trainable(self, model: object, optimizer: object = None) -> Any:
        """Return what callbacks may do to a model; None if it is of another framework."""

    def state_trainable(self, state: object) -> Any:
        """Return what callbacks may do to a training state; None where models hold their own."""

    def source_of(self, value: object) -> Any:
        """Return how to copy one of the framework's arrays to the host; None for others."""

    def revived(self, array: np.ndarray[Any, Any]) -> Any:
        """Return an array of the framework with the values of a NumPy array."""

    def stream_of(self, data: object) -> Any:
        """Return how to go on in the middle of one of the framework's loaders; None for others."""

    def join_host(self, callback: object, model: object) -> None:
        """Let a callback take part in the run of the framework's own loop over this model.

        Does nothing for a model of another framework, and in one that has no loop with callbacks.
        """

    def random_states(self) -> dict[str, Any]:
        """Return the states of the framework's random generators."""

    def restore_random_states(self, states: Mapping[str, Any]) -> None:
        """Put the generators into the states that ``random_states`` gave."""

    def check_foreign(
        self, callback: object, model: object, metrics: Mapping[str, Any] | None
    ) -> None:
        """Raise if a callback of the framework's own cannot work with a model."""

    def profiler(self) -> Profiler | None:
        """Return the framework's profiler; None if it has none."""

    def environment(self) -> dict[str, Any]:
        """Return what has to be equal for a resumed run to be equal bit for bit."""


def loaded() -> Iterator[tuple[str, Framework]]:
    """Yield the frameworks that the program has imported, by name."""
    for name in FRAMEWORKS:
        if name in sys.modules:
            yield name, cast("Framework", importlib.import_module(f"callboard.{name}"))


def source_of(value: object) -> Any:
    """Return how to copy a framework's array to the host; None for anything else."""
    for _, framework in loaded():
        source = framework.source_of(value)
        if source is not None:
            return source
    return None


def revived(kind: str, array: np.ndarray[Any, Any]) -> Any:
    """Return an array of a framework with the values of a NumPy array.

    Raises:
        UnsupportedError: If the program has not imported that framework.
    """
    for name, framework in loaded():
        if name == kind:
            return framework.revived(array)
    raise UnsupportedError(
        f"the saved state has arrays of {kind!r}, which the program has not imported; "
        f"import it first (known: {', '.join(FRAMEWORKS)})"
    )


def profiler_of(name: str) -> Profiler | None:
    """Return the profiler of a framework; None if it is not loaded, or has none."""
    for loaded_name, framework in loaded():
        if loaded_name == name:
            return framework.profiler()
    return None


def join_host(callback: object, model: object) -> None:
    """Let a callback take part in the run of the loop that a model's framework has."""
    for _, framework in loaded():
        framework.join_host(callback, model)


def check_foreign(callback: object, model: object, metrics: Mapping[str, Any] | None) -> None:
    """Raise if a callback of a framework's own cannot work with a model.

    Raises:
        UnsupportedError: If it needs a model of its framework, and this is none.
    """
    for _, framework in loaded():
        framework.check_foreign(callback, model, metrics)
