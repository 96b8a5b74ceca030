"""What can be seen of a torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from callboard._core.batches import Batch
from callboard._core.graph import Graph
from callboard.torch.arrays import to_array
from callboard.torch.distributed import unwrapped
from callboard.torch.graph import recorded_graph
from callboard.torch.profiling import ChromeTrace, profiler
from callboard.torch.summary import summary_of

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["TorchInspection", "inputs_of"]


class TorchInspection:
    """:class:`callboard._core.inspection.Inspection` for PyTorch.

    Args:
        model: The model, or the view of a module whose loop the user wrote.
    """

    outputs_first = True

    def __init__(self, model: Model) -> None:
        self._model = model

    def layers(self) -> tuple[str, ...]:
        """Return the names of all layers; that of the module itself is its type, in small."""
        module = unwrapped(self._model.module)
        names = (name for name, _ in module.named_modules())
        return tuple(name or type(module).__name__.lower() for name in names)

    def summary(self) -> str:
        """Return the innermost layers as a table."""
        return summary_of(self._model)

    def embeddings(self) -> dict[str, np.ndarray[Any, Any]]:
        """Copy the vectors of ``nn.Embedding`` and ``nn.EmbeddingBag`` to the host."""
        named = unwrapped(self._model.module).named_modules()
        return {
            name or type(layer).__name__.lower(): to_array(layer.weight.float()).copy()
            for name, layer in named
            if isinstance(layer, nn.Embedding | nn.EmbeddingBag)
        }

    def graph(self, batch: Any) -> Graph:
        """Return the functions that one forward pass calls, grouped by layers."""
        x = inputs_of(self._model, batch)
        return Graph(recorded_graph(self._model.module, lambda: self._model.forward(x), x))

    def profiler(self) -> ChromeTrace:
        """Return ``torch.profiler``, which writes a trace for Perfetto and Chrome."""
        return profiler()


def inputs_of(model: Model, batch: Any) -> Any:
    """Return the inputs of a batch, which stand first in it, as the module takes them."""
    if isinstance(batch, list) and batch and isinstance(batch[0], Batch):
        batch = batch[0]  # the batches of one execution
    x = batch[0] if isinstance(batch, list | tuple) else batch
    return model.placement.of(Batch(x, None, None)).x
