"""What can be seen of a Keras model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from callboard._core.errors import UnsupportedError
from callboard._core.graph import Graph
from callboard._core.inspection import Profiler
from callboard.keras.graph import layer_nodes
from callboard.keras.profiling import profiler

if TYPE_CHECKING:
    from callboard.keras.trainable import KerasTrainable

__all__ = ["KerasInspection"]


class KerasInspection:
    """:class:`callboard._core.inspection.Inspection` for Keras, on each of its backends.

    Args:
        trainable: The model, as callbacks see it.
    """

    outputs_first = False

    def __init__(self, trainable: KerasTrainable) -> None:
        self._trainable = trainable

    def layers(self) -> tuple[str, ...]:
        """Return the names of all layers, and those that the weights' names begin with."""
        weights = (name.rpartition("/")[0] for name in self._trainable.weights())
        names = (layer.name for layer in self._layers())
        return tuple(dict.fromkeys(name for name in (*names, *weights) if name))

    def summary(self) -> str:
        """Return Keras's own table of the layers."""
        lines: list[str] = []
        self._trainable.model.summary(print_fn=lines.append)
        return "\n".join(lines)

    def embeddings(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copy the vectors of all ``Embedding`` layers that are built to the host."""
        return {
            layer.name: np.array(keras.ops.convert_to_numpy(layer.embeddings), np.float32)
            for layer in self._layers()
            if isinstance(layer, keras.layers.Embedding) and layer.built
        }

    def graph(self, batch: Any) -> Graph:  # noqa: ARG002 - the protocol's
        """Return the layers and how they are connected.

        Raises:
            UnsupportedError: For a subclassed model, of whose layers that is not known, and for
                one with parts that Keras cannot write.
        """
        model = self._trainable.model
        if not isinstance(model, keras.Sequential) and type(model).__name__ != "Functional":
            raise UnsupportedError(
                f"how the layers of a {type(model).__name__} are connected is not known; Keras "
                "shows the graphs of Sequential and functional models"
            )
        try:
            return Graph(layer_nodes(model), architecture=model.to_json())
        except Exception as error:
            raise UnsupportedError(f"Keras cannot write the model as JSON ({error!r})") from error

    def profiler(self) -> Profiler | None:
        """Return the backend's profiler."""
        return profiler()

    def _layers(self) -> list[Any]:
        return list(self._trainable.model._flatten_layers(include_self=False))  # noqa: SLF001 - layers in layers too
