"""Buffers as they were before the forward passes of an update."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["KeptBuffers"]

_SMALL = 2**16  # bytes


class KeptBuffers:
    """Copies of a module's buffers, to put back if the update that they belong to is rejected.

    A forward pass changes buffers, such as the running means of a batch normalization, before
    anybody knows the loss. A large buffer that the first update leaves as it is, such as a table of
    positions or a mask, is taken for a constant and not copied again.

    Args:
        module: The module.
        follows: Keep them before the first forward pass of each update, by hooks on the layers that
            own them, where no training step of ours says ``keep``. Not of layers that are compiled:
            there a hook would be part of the compiled code.

    Attributes:
        are_followed: Whether there are buffers that are kept so.
    """

    def __init__(self, module: nn.Module, *, follows: bool) -> None:
        self._buffers = list(module.buffers())  # looked for once, not in every step
        self._kept: list[torch.Tensor] = []
        self._is_kept = self._are_constants_known = False
        owners = [m for m in module.modules() if any(True for _ in m.buffers(recurse=False))]
        if hasattr(module, "_orig_mod"):  # compiled as a whole: its own hooks are outside of that
            owners = [module] if owners else []
        hooked = owners if follows else []
        self._hooks = [m.register_forward_pre_hook(self._before_forward) for m in hooked]
        self.are_followed = bool(hooked)

    def keep(self) -> None:
        """Copy the buffers before a forward pass changes them."""
        if not self._buffers:
            return
        with torch.no_grad():
            if not self._kept:
                self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
            elif not self._are_constants_known:
                self._leave_constants()
            torch._foreach_copy_(self._kept, self._buffers)  # one operation for all, on a device
        self._is_kept = True

    def forget(self) -> None:
        """Have the next forward pass begin an update: the one before was admitted."""
        self._is_kept = False

    def put_back(self, where: torch.Tensor | None = None) -> None:
        """Put back what was kept, if anything was; after the backward pass, which looks at them.

        Args:
            where: A 0-d tensor that says by 1 or 0 whether to, if only the device knows.
        """
        if not self._is_kept:
            return
        self._is_kept = False
        with torch.no_grad():
            if where is None:
                torch._foreach_copy_(self._buffers, self._kept)
                return
            for buffer, before in zip(self._buffers, self._kept, strict=True):
                buffer.copy_(torch.where(where > 0, before, buffer))

    def close(self) -> None:
        """Follow the forward passes no longer."""
        for hook in self._hooks:
            hook.remove()

    def _leave_constants(self) -> None:
        self._are_constants_known = True
        pairs = [
            (buffer, before)
            for buffer, before in zip(self._buffers, self._kept, strict=True)
            if buffer.nbytes <= _SMALL or not torch.equal(buffer, before)
        ]
        self._buffers, self._kept = [b for b, _ in pairs], [k for _, k in pairs]

    def _before_forward(self, module: Any, _inputs: object) -> None:
        if not torch.compiler.is_compiling() and module.training and not self._is_kept:
            self.keep()
