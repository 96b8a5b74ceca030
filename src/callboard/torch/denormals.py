"""Treating numbers too small to matter as zero, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["denormals_flushed"]


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Flush denormal numbers to zero on the CPU within the block; then as it was before.

    The moments of an Adam optimizer decay into denormals wherever a gradient is always zero (the
    pixels of a picture's black border), and processors compute with those many times slower. The
    switch is one of the processor's for the whole thread, which is why it is put back.
    """
    before = _flushing()
    supported = torch.set_flush_denormal(True)
    try:
        yield
    finally:
        if supported and not before:
            torch.set_flush_denormal(False)


def _flushing() -> bool:
    smallest_normal = torch.tensor([torch.finfo(torch.float32).tiny])
    return (smallest_normal / 2).item() == 0
