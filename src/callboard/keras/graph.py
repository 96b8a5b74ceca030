"""The layers of a Keras model and how they are connected."""

from __future__ import annotations

from typing import Any

import keras

from callboard._core.graph import Node

__all__ = ["layer_nodes"]


def layer_nodes(model: Any) -> list[Node]:
    """Return a node for each layer of a Sequential or functional model, inputs first.

    TensorBoard opens the page of graphs with operations, and has none of Keras 3 to show.
    """
    chained = isinstance(model, keras.Sequential)
    nodes: list[Node] = []
    for layer in model.layers:
        if chained:
            before: tuple[str, ...] = tuple(node.name for node in nodes[-1:])
        else:
            before = _before(layer)
        shape = getattr(layer, "output", None) is not None and str(layer.output.shape)
        attributes = {"output shape": shape} if shape else {}
        nodes.append(Node(layer.name, type(layer).__name__, before, attributes=attributes))
    return nodes


def _before(layer: Any) -> tuple[str, ...]:
    """Return the names of the layers whose outputs a layer takes."""
    taken = (tensor for node in layer._inbound_nodes for tensor in node.input_tensors)  # noqa: SLF001 - Keras has no other way to it
    return tuple(dict.fromkeys(tensor._keras_history.operation.name for tensor in taken))  # noqa: SLF001 - as above
