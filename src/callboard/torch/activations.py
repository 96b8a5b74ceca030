"""What the layers of a module give out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from callboard._core.nested import leaves
from callboard.torch.modes import evaluating

__all__ = ["recorded_activations"]


def recorded_activations(module: nn.Module, call: Callable[[], object]) -> dict[str, torch.Tensor]:
    """Return the outputs of all innermost layers for one forward pass, by their names.

    The pass is made in evaluation mode and without gradients; modes, buffers and random states are
    afterwards what they were. A layer that is used several times gives its last output.

    Args:
        module: The module whose layers are watched.
        call: Makes the forward pass.
    """
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_layer: nn.Module, _inputs: object, output: object) -> None:
            found = next((leaf for leaf in leaves(output) if isinstance(leaf, torch.Tensor)), None)
            if found is not None:
                outputs[name] = found.detach()

        return hook

    handles = [
        layer.register_forward_hook(keep(name or type(layer).__name__.lower()))
        for name, layer in module.named_modules()
        if next(layer.children(), None) is None
    ]
    try:
        with (
            evaluating(module),
            torch.no_grad(),
            torch.random.fork_rng(devices=_accelerators(module)),
        ):
            call()
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _accelerators(module: nn.Module) -> list[int]:
    """Return the CUDA devices that a module's weights are on."""
    return sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})
