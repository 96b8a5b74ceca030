"""A torch model's whole state: what training goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from callboard._core.errors import DataError
from callboard.torch import distributed
from callboard.torch.arrays import array_dtype, to_tensor
from callboard.torch.extra_states import extra_states, is_extra_state, put_extra_states

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = [
    "TensorSource",
    "environment",
    "gradients_of",
    "load_state",
    "put_gradients",
    "random_states",
    "restore_random_states",
    "revived",
    "source_of",
    "state_of",
]


_THREADS_FROM = 64 * 2**20
"""Bytes; where other processes use the cores, torch waits for the scheduler at every tensor, which
takes as long as copying so much."""


class TensorSource:
    """A tensor as something to copy to the host.

    Args:
        tensor: The tensor, on any device.
    """

    kind = "torch"

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.detach()
        self.dtype = array_dtype(tensor.dtype)
        self.shape = tuple(tensor.shape)

    @property
    def memory(self) -> object:
        """What tells tied weights: two names of the same memory."""
        tensor = self._tensor
        if not tensor.numel():
            return None
        return (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)

    def copy_to(self, target: np.ndarray[Any, Any]) -> None:
        """Copy the values to an array; large ones by torch, which does it in several threads."""
        tensor = self._tensor
        if target.dtype.names:  # a type that NumPy lacks: its bits are copied
            bits = torch.uint16 if target.dtype.itemsize == 2 else torch.uint8
            tensor = tensor.contiguous().view(bits)
            target = target.view(f"u{target.dtype.itemsize}")
        if _has_array(tensor) and tensor.nbytes < _THREADS_FROM:
            np.copyto(target, tensor.numpy())
        else:
            torch.from_numpy(target).copy_(tensor)


def _has_array(tensor: Tensor) -> bool:
    """Say whether NumPy can look at a tensor's memory as it is."""
    plain = type(tensor) is Tensor and tensor.device.type == "cpu"
    return plain and tensor.layout is torch.strided and not (tensor.is_conj() or tensor.is_neg())


def source_of(value: object) -> TensorSource | None:
    """Return how to copy a tensor to the host; None for anything else."""
    return TensorSource(value) if isinstance(value, Tensor) else None


def revived(array: np.ndarray[Any, Any]) -> Tensor:
    """Return a tensor on the CPU with the values of an array, sharing its memory if it can."""
    return to_tensor(array)


def random_states() -> dict[str, Any]:
    """Return the states of torch's generators: of the CPU, of every GPU in use, of MPS."""
    states: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if _uses_cuda():
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put the generators into the states that ``random_states`` gave, as far as they are here."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def environment() -> dict[str, Any]:
    """Return what has to be equal for a resumed run to be equal bit for bit."""
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if _uses_cuda() else "cpu",
        "processes": distributed.world_size(),
    }


def state_of(model: Model) -> dict[str, Any]:
    """Return weights, optimizer and gradients that wait for an update, as they are."""
    module = distributed.unwrapped(model.module)
    trained = _trained(model)
    own = module.state_dict(keep_vars=True)
    tensors = {n: t for n, t in own.items() if isinstance(t, Tensor) and not is_extra_state(n)}
    frozen = {
        name
        for name, tensor in tensors.items()
        if trained and isinstance(tensor, torch.nn.Parameter) and id(tensor) not in trained
    }
    state: dict[str, Any] = {
        "weights": {n: t.detach() for n, t in tensors.items() if n not in frozen},
        "frozen": {n: tensors[n].detach() for n in tensors if n in frozen},
    }
    extra = extra_states(own)
    if extra:
        state["extra"] = extra
    if model.optimizer is not None:
        state["optimizer"] = model.optimizer.full_state()
        if not model.steps_by_itself:
            # A loop of the user's may gather gradients for an update to come; ours says so itself.
            state["gradients"] = gradients_of(module)
    return state


def load_state(model: Model, state: Mapping[str, Any]) -> None:
    """Put a model into the state that ``state_of`` gave.

    Raises:
        DataError: If the state is that of another model or optimizer; then nothing is changed.
    """
    if ("optimizer" in state) != (model.optimizer is not None):
        has = "has" if "optimizer" in state else "has not"
        raise DataError(
            f"the saved run {has} an optimizer, other than this one; pass the same model and "
            "optimizer, or begin anew in another folder"
        )
    weights = {n: to_tensor(v) for n, v in {**state["weights"], **state["frozen"]}.items()}
    model.trainable.check_fit(weights)
    if model.optimizer is not None:
        model.optimizer.restore_full(state["optimizer"])
    model.trainable.write(weights)
    module = distributed.unwrapped(model.module)
    put_gradients(module, state.get("gradients", {}))
    put_extra_states(module, state.get("extra", {}))


def gradients_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return the gradients that weights have, by name."""
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def put_gradients(module: torch.nn.Module, gradients: Mapping[str, Tensor]) -> None:
    """Give the weights these gradients, and the others none."""
    for name, parameter in module.named_parameters():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device, copy=True)


def _trained(model: Model) -> set[int]:
    """Return the identities of the weights that the optimizer trains."""
    if model.optimizer is None:
        return set()
    return {id(p) for p in model.optimizer.parameters() if p.requires_grad}


def _uses_cuda() -> bool:
    initialized: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call] # torch has no types for it
    return initialized
