"""State with arrays, in a checkpoint of the host that ``torch.save`` writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from callboard._core.nested import mapped
from callboard.torch.arrays import to_array, to_tensor

__all__ = ["with_arrays", "with_tensors"]


def with_tensors(state: Any) -> Any:
    """Return nested state with tensors for arrays, which ``torch.load`` reads in its safe mode."""
    return mapped(lambda v: to_tensor(v.copy()) if isinstance(v, np.ndarray) else v, state)


def with_arrays(state: Any) -> Any:
    """Return what ``with_tensors`` was given."""
    return mapped(lambda v: to_array(v) if isinstance(v, torch.Tensor) else v, state)
