"""Where a module takes its inputs, and of which type."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from callboard._core.batches import Batch
from callboard._core.nested import leaves
from callboard.torch.arrays import tensors_of, to_tensor

__all__ = ["Placement"]


class Placement(NamedTuple):
    """Where a module takes its inputs, and of which floating type.

    Attributes:
        device: Where its parameters lie.
        dtype: Their floating type.
    """

    device: torch.device
    dtype: torch.dtype

    def input(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return an input of the module's type; images of bytes become floats, other ints stay."""
        takes = tensor.is_floating_point() or tensor.dtype is torch.uint8
        return tensor.to(self.dtype) if takes else tensor

    def target(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return targets or weights of the module's type, but of float32 at least; ints stay.

        Losses and metrics are computed in that, also for a module in half precision.
        """
        if not tensor.is_floating_point():
            return tensor
        return tensor.to(torch.promote_types(self.dtype, torch.float32))

    @contextlib.contextmanager
    def explaining(self, x: Any) -> Iterator[None]:
        """Note on an error that is raised for inputs whether their type is why."""
        try:
            yield
        except (RuntimeError, TypeError, ValueError) as error:
            given = {leaf.dtype for leaf in leaves(x) if isinstance(leaf, torch.Tensor)}
            if given - {self.dtype} and any(dtype.is_floating_point for dtype in given):
                names = " and ".join(sorted(map(str, given)))
                error.add_note(
                    f"the data yields {names}, and the module's parameters are {self.dtype}; "
                    "tensors of a Dataset or DataLoader stay as they are, so convert them there: "
                    f"x.to({self.dtype})"
                )
            raise

    def of(self, batch: Batch, *, keep_tensors: bool = False) -> Batch:
        """Return a batch as tensors on the device.

        Args:
            batch: Arrays, tensors and lists of numbers.
            keep_tensors: What is a tensor already stays of its type.
        """

        def placed(leaf: Any, *, as_input: bool = False) -> torch.Tensor:
            tensor = to_tensor(leaf).to(self.device, non_blocking=True)
            if keep_tensors and isinstance(leaf, torch.Tensor):
                return tensor
            return self.input(tensor) if as_input else self.target(tensor)

        def placed_input(leaf: Any) -> torch.Tensor:
            return placed(leaf, as_input=True)

        return Batch(
            tensors_of(batch.x, placed_input),
            tensors_of(batch.y, placed),
            tensors_of(batch.sample_weight, placed),
        )
