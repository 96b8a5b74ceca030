"""A model's weights as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from callboard.jax.leaves import leaves_of, weights_of

if TYPE_CHECKING:
    from callboard.jax.model import Model

__all__ = ["summary_of"]


def summary_of(model: Model) -> str:
    """Return a table of the weights: name, type, shape, number of elements."""
    weights = weights_of(leaves_of(model.state))
    rows = [
        (name, str(leaf.value.dtype), str(leaf.value.shape), f"{leaf.value.size:,}")
        for name, leaf in weights.items()
    ]
    header = ("Weight", "Type", "Shape", "Elements")
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(4)]
    lines = [_line(row, widths) for row in [header, *rows]]
    rule = "-" * max(map(len, lines))
    sizes = [(leaf.value.size, leaf.value.nbytes) for leaf in weights.values()]
    count, size = (int(total) for total in np.sum(sizes, axis=0, initial=0))
    kind = type(model.learner.network.source).__name__
    total = f"Total: {count:,} ({size / 1024:,.1f} KB)"
    return "\n".join([kind, lines[0], rule, *lines[1:], rule, total])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    *texts, number = row
    cells = [text.ljust(width) for text, width in zip(texts, widths[:3], strict=True)]
    return "  ".join([*cells, number.rjust(widths[3])])
