"""How many samples a batch has."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["sample_count"]

_SEQUENCES = (tuple, list)


def sample_count(batch: object) -> int:
    """Return the length of the first array in a batch, however nested; 1 if there is none.

    Example:
        >>> import numpy as np
        >>> sample_count((np.zeros((32, 784)), np.zeros(32))), sample_count({"x": [1, 2]})
        (32, 2)
    """
    while True:
        shape = getattr(batch, "shape", None)
        if shape is not None:
            return int(shape[0]) if len(shape) else 1
        # By type first, as this is done for every batch, and isinstance takes long with a Mapping.
        if (type(batch) in _SEQUENCES or isinstance(batch, tuple | list)) and batch:
            first = batch[0]  # type: ignore[index] # it is a tuple or list
            # A list of numbers is an array, a list of arrays a structure.
            if isinstance(first, (int, float)):
                return len(batch)  # type: ignore[arg-type] # it is a tuple or list
            batch = first
        elif isinstance(batch, Mapping) and batch:
            batch = next(iter(batch.values()))
        else:
            return 1
