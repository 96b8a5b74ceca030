"""What can be seen of a model, beyond its numbers, by who wants to show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from callboard._core.errors import UnsupportedError
from callboard._core.graph import Graph
from callboard._core.trainable import Trainable

__all__ = ["Inspection", "PlainInspection", "Profiler", "inspection_of"]

Arrays = dict[str, np.ndarray[Any, Any]]


class Profiler(Protocol):
    """Measures where the time of some batches goes."""

    def start(self) -> None:
        """Begin."""

    def stop(self, folder: Path, name: str) -> str:
        """End, and write what was measured.

        Args:
            folder: Where to; it is made when needed.
            name: What the file is called, without a suffix.

        Returns:
            Where it is and how it is opened, as a sentence.
        """


class Inspection(Protocol):
    """A view of a model for those who show it; a :class:`Trainable` may have one.

    It is the attribute ``inspection`` of a Trainable. Nothing of the model or of the random states
    is changed by looking.
    """

    @property
    def outputs_first(self) -> bool:
        """Whether convolutions have the outputs on their weights' first axis, not on the last."""

    def layers(self) -> tuple[str, ...]:
        """Return the names of all layers, as those of weights and activations begin with."""

    def summary(self) -> str:
        """Return the layers as a table."""

    def embeddings(self) -> Arrays:
        """Copy the vectors of the layers that are embeddings to the host, by the layers' names."""

    def graph(self, batch: Any) -> Graph:
        """Return how the model computes what it gives out for a batch.

        Raises:
            UnsupportedError: Where that is not known, with the reason.
        """

    def profiler(self) -> Profiler | None:
        """Return the framework's profiler; None if it has none."""


class PlainInspection:
    """What can be seen of any model: its weights.

    Args:
        trainable: The model, as callbacks see it.
    """

    @property
    def outputs_first(self) -> bool:
        """Whether convolutions have the outputs first, as PyTorch's; nothing else is known."""
        return True

    def __init__(self, trainable: Trainable) -> None:
        self._trainable = trainable

    def layers(self) -> tuple[str, ...]:
        """Return what stands before the last part of the weights' names."""
        names = (name.replace("/", ".") for name in self._trainable.weights())
        return tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in names))

    def summary(self) -> str:
        """Return a table of the weights: name, shape, numbers."""
        rows = [
            (name, "x".join(map(str, array.shape)) or "scalar", f"{array.size:,}")
            for name, array in self._trainable.weights().items()
        ]
        rows = [("Weight", "Shape", "Numbers"), *rows]
        first, second, third = (max(len(row[i]) for row in rows) for i in range(3))
        return "\n".join(f"{n:<{first}}  {s:<{second}}  {c:>{third}}" for n, s, c in rows)

    def embeddings(self) -> Arrays:
        """Return none: which weights are embeddings is not known."""
        return {}

    def graph(self, batch: Any) -> Graph:  # noqa: ARG002 - the protocol's
        """Say that what is done with the weights is not known.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError("of the model its weights are known, and not what is done with them")

    def profiler(self) -> Profiler | None:
        """Return None: there is no framework to ask."""
        return None


def inspection_of(trainable: Trainable) -> Inspection:
    """Return what can be seen of a model: its framework's view, or of its weights alone."""
    found: Inspection | None = getattr(trainable, "inspection", None)
    return PlainInspection(trainable) if found is None else found
