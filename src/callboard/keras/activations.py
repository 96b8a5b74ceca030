"""What the layers of a Keras model give out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

__all__ = ["layers_of", "recorded_activations"]


def recorded_activations(model: Any, inputs: Any) -> dict[str, Any]:
    """Run a model on a batch, in evaluation mode, and return what its layers gave out.

    Works for functional, sequential and subclassed models alike, as it listens to the layers and
    not to the graph. A layer that is used twice has a number in its second name.

    Args:
        model: The model.
        inputs: What the model is called with.

    Returns:
        The outputs of all innermost layers, by the layer's path, in the order of the calls.
    """
    if not model.built:
        model(inputs, training=False)  # building it calls layers without values
    found: dict[str, Any] = {}
    layers = [
        layer
        for layer in layers_of(model)
        if len(layers_of(layer)) == 1 and not isinstance(layer, keras.layers.InputLayer)
    ]
    for layer in layers:
        object.__setattr__(layer, "call", _recording(layer.call, layer.path or layer.name, found))
    try:
        model(inputs, training=False)
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")
    return found


def layers_of(model: Any) -> list[Any]:
    """Return all layers of a model, those that are attributes of layers included."""
    layers: list[Any] = list(model._flatten_layers())  # noqa: SLF001 - Keras has no public walk
    return layers


def _recording(call: Callable[..., Any], path: str, found: dict[str, Any]) -> Callable[..., Any]:
    def record(*arguments: Any, **options: Any) -> Any:
        output = call(*arguments, **options)
        outputs = [v for v in keras.tree.flatten(output) if keras.ops.is_tensor(v)]
        for value in outputs:
            name, number = path, 1
            while name in found:
                name, number = f"{path}_{number}", number + 1
            found[name] = value
        return output

    return record
