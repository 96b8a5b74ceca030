"""Names as Keras spells them in logs."""

from __future__ import annotations

import re

__all__ = ["snake_case"]


def snake_case(name: str) -> str:
    """Return a class's name as Keras spells it in logs.

    Example:
        >>> snake_case("MeanSquaredError"), snake_case("AUC"), snake_case("MeanIoU")
        ('mean_squared_error', 'auc', 'mean_io_u')
    """
    spaced = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
