"""Rejecting an update that would carry NaN or infinity into the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from callboard.torch.distributed import is_distributed
from callboard.torch.kept_buffers import KeptBuffers

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["Guard"]


class Guard:
    """Looks at every update of a model's optimizer before it is applied.

    On the CPU the loss or the gradients are read and a bad update is skipped. On an accelerator
    a fused optimizer skips it on the device, by the ``found_inf`` that gradient scalers use, so the
    host waits for nothing; the mark stays set, so no later update is applied either. For
    other optimizers the host has to wait for one number.

    Where ``step`` is given a closure, which makes the gradients inside of the step, the loss that
    it returns is looked at there.

    A forward pass changes buffers too, such as the running means of a batch normalization. They are
    kept before it, in loops that are not ours by hooks, and put back if the update is rejected.

    Args:
        model: The model whose optimizer is watched.
        gradients: Look at the gradients too. They are looked at in any case where the loop is the
            user's own, as it does not ask about its losses.
        waits: Whether reading a number waits for a device; by default as the model's device is.

    Attributes:
        gradients: Whether the gradients are to be looked at.
        sees_losses: Every update's loss is asked about by ``admits``.
        buffers: The module's buffers, to be kept before a forward pass.
        on_rejected: Called when an update is rejected on the CPU, where that is known at once.
    """

    def __init__(self, model: Model, *, gradients: bool, waits: bool | None = None) -> None:
        self.gradients = gradients
        self.on_rejected: Callable[[], None] | None = None
        self._rejected = ""
        self._mark: torch.Tensor | None = None
        self._device = model.device
        self._optimizer: Any = None if model.optimizer is None else model.optimizer.wrapped
        waits = model.device.type != "cpu" if waits is None else waits
        # Whatever the program's defaults for new tensors are.
        self._found, self._one = torch.tensor([0.0, 1.0], dtype=torch.float32, device="cpu")
        self._is_found = memoryview(self._found.numpy())  # the same number, read in less time
        self._on_device = waits and _is_fused(self._optimizer)
        # Processes that train together must reject alike. Their losses differ; their gradients,
        # once averaged, do not.
        self._alone = not is_distributed()
        self.sees_losses = model.steps_by_itself and self._alone
        self.buffers = KeptBuffers(model.module, follows=not model.steps_by_itself)
        on_cpu = model.device.type == "cpu" and not self._on_device
        self._look = self._look_on_cpu if on_cpu else self._look_anywhere
        self._hook: Any = None
        # A hook takes time in every step, and is not needed where the step asks about its loss.
        if self._optimizer is not None and (gradients or not self.sees_losses):
            self._hook = self._optimizer.register_step_pre_hook(self._before_step)

    @property
    def rejected(self) -> str:
        """What was not finite in an update that was rejected, or nothing; may wait for a device."""
        if not self._rejected and self._mark is not None and self._mark.item():
            self._rejected = "loss or gradient"
        return self._rejected

    @property
    def mark(self) -> torch.Tensor:
        """A 0-d tensor that is 1 once an update was rejected; compiled steps read and set it."""
        if self._mark is None:
            self._mark = torch.zeros((), device=self._device)
        return self._mark

    def admits(self, loss: torch.Tensor) -> bool:
        """Say whether to go on with the update for a loss; True if the device will decide."""
        if not self._alone:
            return True
        if self._on_device:
            self._set_mark(torch.isfinite(loss.detach()))
            return True
        if self.rejected:
            return False
        value = loss.item()
        if math.isfinite(value):
            return True
        self._reject(f"loss: {value}")
        return False

    def settle_buffers(self) -> None:
        """Put back the buffers that were kept if the update was rejected, after its backward pass.

        Otherwise the next forward pass begins another update.
        """
        if self._on_device:
            self.buffers.put_back(where=self.mark)
        elif self.rejected:
            self.buffers.put_back()
        else:
            self.buffers.forget()

    def remove(self) -> None:
        """Watch no longer."""
        self.buffers.close()
        if self._hook is not None:
            self._hook.remove()
        if self._on_device:
            self._optimizer.found_inf = None

    def _before_step(
        self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Look before an update; where a closure makes its gradients, when it has done so."""
        if len(args) > 1 and args[1] is not None:
            return (optimizer, self._watched(args[1], optimizer), *args[2:]), kwargs
        if kwargs and kwargs.get("closure") is not None:
            return args, {**kwargs, "closure": self._watched(kwargs["closure"], optimizer)}
        self._look(optimizer)
        if self.buffers.are_followed:
            self.settle_buffers()
        return None

    def _watched(self, closure: Callable[[], Any], optimizer: Any) -> Callable[[], Any]:
        def watched() -> Any:
            loss = closure()
            if self.gradients or not self._alone or not isinstance(loss, torch.Tensor):
                self._look(optimizer)
            elif not self.admits(loss):
                _drop(optimizer)
            self.settle_buffers()
            return loss

        return watched

    def _look_on_cpu(self, optimizer: Any) -> None:
        """Look at the gradients of an update, in as little time as possible.

        The operation is what gradient scalers call, here with a scale of 1: it looks at all
        gradients at once, in a twentieth of the time that their norms take for a small network.
        """
        gradients = _gradients(optimizer)
        try:
            torch._amp_foreach_non_finite_check_and_unscale_(gradients, self._found, self._one)
        except RuntimeError:  # it does not take sparse, complex and expanded ones
            finite = not gradients or math.isfinite(_largest(gradients).item())
        else:
            finite = not self._is_found[()]
        if not finite or self._rejected or (self._mark is not None and self.rejected):
            self._refuse(optimizer, gradients)

    def _look_anywhere(self, optimizer: Any) -> None:
        gradients = _gradients(optimizer)
        if not gradients:
            return
        if self._on_device:
            self._set_mark(torch.isfinite(_largest(gradients)))
        elif self.rejected or not math.isfinite(_largest(gradients).item()):
            self._refuse(optimizer, gradients)

    def _refuse(self, optimizer: Any, gradients: list[torch.Tensor]) -> None:
        """Have an update change nothing, and all after it: what was rejected stays so."""
        if not self.rejected:
            self._reject(f"gradient: {_largest(gradients).item()}")
        _drop(optimizer)

    def _reject(self, what: str) -> None:
        self._rejected = what
        if self.on_rejected is not None:
            self.on_rejected()

    def _set_mark(self, finite: torch.Tensor) -> None:
        bad = (~finite).float().reshape(())
        self._mark = bad if self._mark is None else torch.maximum(self._mark, bad)
        self._optimizer.grad_scale = None
        self._optimizer.found_inf = self._mark


def _drop(optimizer: Any) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None  # an optimizer leaves weights without one alone


def _gradients(optimizer: Any) -> list[torch.Tensor]:
    groups = optimizer.param_groups
    return [g for group in groups for p in group["params"] if (g := p.grad) is not None]


def _largest(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Return the largest magnitude of all: NaN and infinity carry through."""
    dense = [g._values() if g.is_sparse else g for g in gradients]  # noqa: SLF001 - of any order
    return torch.nn.utils.get_total_norm([g for g in dense if g.numel()], math.inf)


def _is_fused(optimizer: Any) -> bool:
    groups = () if optimizer is None else optimizer.param_groups
    return bool(groups) and all(group.get("fused") for group in groups)
