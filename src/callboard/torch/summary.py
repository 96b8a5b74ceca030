"""A model's layers as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from callboard._core.batches import Batch
from callboard.torch.activations import recorded_activations

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["summary_of"]


def summary_of(model: Model, inputs: Any = None) -> str:
    """Return a table of the innermost layers: name, type, output shape, number of parameters.

    Args:
        model: The model.
        inputs: A batch of inputs, to find the output shapes with; or None to leave them out.
    """
    shapes: dict[str, str] = {}
    if inputs is not None:
        x = model.placement.of(Batch(inputs, None, None)).x
        outputs = recorded_activations(model.module, lambda: model.forward(x))
        shapes = {name: str(tuple(output.shape)) for name, output in outputs.items()}
    rows = [
        (name, type(layer).__name__, shapes.get(name, ""), f"{_count(layer):,}")
        for name, layer in model.module.named_modules()
        if next(layer.children(), None) is None
    ]
    header = ("Layer", "Type", "Output shape" if shapes else "", "Parameters")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(4)]
    lines = [_line(row, widths) for row in [header, *rows]]
    rule = "-" * max(map(len, lines))
    total = _count(model.module)
    trainable = sum(p.numel() for p in model.module.parameters() if p.requires_grad)
    return "\n".join(
        [
            type(model.module).__name__,
            lines[0],
            rule,
            *lines[1:],
            rule,
            f"Total parameters: {total:,} ({_size(model.module)})",
            f"Trainable: {trainable:,}   Frozen: {total - trainable:,}",
        ]
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    *texts, number = row
    cells = [text.ljust(width) for text, width in zip(texts, widths[:3], strict=True) if width]
    return "  ".join([*cells, number.rjust(widths[3])])


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _size(module: nn.Module) -> str:
    tensors = (*module.parameters(), *module.buffers())
    size = float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GB"
