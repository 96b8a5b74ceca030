"""A torch module and its optimizer, as callbacks see them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from callboard._core.errors import ConfigurationError, DataError, UnsupportedError
from callboard._core.logs import Logs
from callboard.torch import distributed, files, state
from callboard.torch.activations import recorded_activations
from callboard.torch.arrays import to_array, to_tensor
from callboard.torch.averages import ForeignAverages, WeightAverages
from callboard.torch.extra_states import is_extra_state
from callboard.torch.guard import Guard
from callboard.torch.inspection import TorchInspection, inputs_of
from callboard.torch.optimizers import Optimizer

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["TorchTrainable"]

Arrays = dict[str, np.ndarray[Any, Any]]


class TorchTrainable:
    """What callbacks may do to a torch module: :class:`callboard.Trainable` for PyTorch.

    Args:
        model: The model, or the view of a module whose loop the user wrote.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._guard: Guard | None = None
        self.active_averages: WeightAverages | None = None

    @property
    def inspection(self) -> TorchInspection:
        """What can be seen of the module."""
        return TorchInspection(self.model)

    @property
    def rank(self) -> int:
        """Number of this process among those that train together."""
        return distributed.rank()

    def reduced(self, logs: Logs) -> Logs:
        """Return metrics over the samples of all processes; called by all, once a pass."""
        return distributed.reduced(logs, self.model.device)

    @property
    def synchronous(self) -> bool:
        """Whether reading a number costs no wait, as on the CPU."""
        return self.model.device.type == "cpu"

    @property
    def learning_rate(self) -> float:
        """Learning rate of the optimizer's first group; the others keep their ratio to it."""
        return float(self.require_optimizer().learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.require_optimizer().learning_rate = value

    @property
    def rate_controller(self) -> str:
        """Name of a torch scheduler of this optimizer, or an empty string."""
        if self.model.optimizer is None:
            return ""
        # A scheduler leaves this mark in every group when it is made, and no other sign.
        scheduled = any("initial_lr" in group for group in self.model.optimizer.param_groups)
        return "a torch.optim.lr_scheduler" if scheduled else ""

    def weights(self, into: Arrays | None = None) -> Arrays:
        """Copy all weights and buffers to the host, into arrays from an earlier call if given."""
        current = {name: to_array(tensor) for name, tensor in self._tensors().items()}
        if into is None or into.keys() != current.keys():
            return {name: array.copy() for name, array in current.items()}
        for name, array in current.items():
            np.copyto(into[name], array)
        return into

    def set_weights(self, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Write weights and buffers back, in place.

        Raises:
            DataError: If names or shapes differ; then nothing is changed.
        """
        tensors = {name: to_tensor(array) for name, array in weights.items()}
        self.check_fit(tensors)
        self.write(tensors)

    def nonfinite(self) -> str:
        """Return the name of a weight that holds NaN or an infinity, or an empty string."""
        floating = {n: t for n, t in self._tensors().items() if t.is_floating_point() and t.numel()}
        if not floating:
            return ""
        # Read together, so that an accelerator is waited for once.
        device = next(iter(floating.values())).device
        finite = torch.stack([torch.isfinite(t).all().to(device) for t in floating.values()])
        for name, flag in zip(floating, finite.tolist(), strict=True):
            if not flag:
                return name
        return ""

    def gradients(self) -> Arrays:
        """Copy the latest gradients to the host; weights without one are left out."""
        named = distributed.unwrapped(self.model.module).named_parameters()
        return {name: to_array(p.grad).copy() for name, p in named if p.grad is not None}

    def activations(self, inputs: Any) -> Arrays:
        """Return the outputs of all innermost layers for a batch's inputs."""
        x = inputs_of(self.model, inputs)
        outputs = recorded_activations(self.model.module, lambda: self.model.forward(x))
        return {name: to_array(output.float()) for name, output in outputs.items()}

    def check_path(self, path: Path, *, weights_only: bool) -> None:  # noqa: ARG002 - the protocol's
        """Raise if ``save`` cannot write such a file: unknown suffix, missing package."""
        files.check_path(path)

    def save(self, path: Path, *, weights_only: bool) -> None:
        """Write the file durably and whole, in the format of its suffix, or leave the old one."""
        optimizer = None if weights_only else self.model.optimizer
        of_optimizer = None if optimizer is None else optimizer.state_dict()
        files.write(path, files.Saved(self._tensors(), of_optimizer))

    def load(self, path: Path, *, weights_only: bool) -> None:
        """Read what ``save`` wrote, back into the module and its optimizer.

        Raises:
            FileFormatError: If the file is damaged or of another format.
            DataError: If names or shapes differ, or the optimizer is another; then nothing is
                changed.
        """
        saved = files.read(path)
        self.check_fit(saved.weights)
        if saved.optimizer is not None and not weights_only and self.model.optimizer is not None:
            _check_kind(saved.optimizer, self.model.optimizer.state_dict())
            self.model.optimizer.restore(saved.optimizer)
        self.write(saved.weights)

    def state_dict(self) -> dict[str, Any]:
        """Return weights, optimizer and gradients that wait for an update, as they are."""
        return state.state_of(self.model)

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            DataError: If it is the state of another model or optimizer; then nothing is changed.
        """
        state.load_state(self.model, saved)

    def guard(self, *, gradients: bool) -> bool:
        """Begin to reject updates whose loss, or on request whose gradients, are not finite.

        Returns:
            Whether every loss is looked at.
        """
        self.unguard()
        self._guard = Guard(self.model, gradients=gradients)
        return self._guard.sees_losses

    def unguard(self) -> None:
        """Let every update through again."""
        if self._guard is not None:
            self._guard.remove()
            self._guard = None

    @property
    def rejected(self) -> str:
        """What was not finite in an update that was rejected since ``guard``, or nothing."""
        return "" if self._guard is None else self._guard.rejected

    @property
    def active_guard(self) -> Guard | None:
        """The guard that a training step has to ask, if there is one."""
        return self._guard

    def averages(self, source: Any = None) -> WeightAverages | ForeignAverages:
        """Return averages of the weights: with a momentum, or those of an ``AveragedModel``.

        Raises:
            UnsupportedError: Without a source: optimizers of PyTorch keep no averages.
            ConfigurationError: For another source.
        """
        if isinstance(source, AveragedModel):
            return ForeignAverages(self.model, source)
        if isinstance(source, float):
            self.active_averages = WeightAverages(self.model, source)
            return self.active_averages
        if source is None:
            raise UnsupportedError(
                "optimizers of PyTorch keep no averages of the weights; pass "
                "SwapEMAWeights(momentum=0.99), or averages= with your own AveragedModel"
            )
        raise ConfigurationError(
            f"averages= must be a torch.optim.swa_utils.AveragedModel; got {type(source).__name__}"
        )

    def require_optimizer(self) -> Optimizer:
        """Return the optimizer.

        Raises:
            UnsupportedError: If there is none.
        """
        if self.model.optimizer is None:
            raise UnsupportedError(
                "this needs the optimizer (learning rate), and there is none; "
                "pass Run(model=..., optimizer=...), or compile the Model first"
            )
        return self.model.optimizer

    def _tensors(self) -> dict[str, torch.Tensor]:
        state = distributed.unwrapped(self.model.module).state_dict()
        return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}

    def check_fit(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Raise DataError if weights and buffers do not have the model's names and shapes."""
        own = {n: tensor for n, tensor in self._tensors().items() if not is_extra_state(n)}
        given = {name for name in weights if not is_extra_state(name)}
        missing, unknown = own.keys() - given, given - own.keys()
        if missing or unknown:
            raise DataError(
                "the weights are those of another model: "
                f"missing {sorted(missing) or 'none'}, unknown {sorted(unknown) or 'none'}"
            )
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                raise DataError(
                    f"weight {name!r} has shape {tuple(weights[name].shape)} in what is loaded and "
                    f"{tuple(tensor.shape)} in the model"
                )

    def write(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Write weights and buffers that fit, in place."""
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                if not is_extra_state(name):  # what the module made of it just now
                    tensor.copy_(weights[name])


def _check_kind(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise if an optimizer's state is that of one with other options, as PyTorch does not."""
    saved_options, own_options = (
        {option for group in state["param_groups"] for option in group} - {"initial_lr"}
        for state in (saved, own)
    )
    # The same optimizer of a newer PyTorch may have more options, and of an older one fewer.
    if saved_options - own_options and own_options - saved_options:
        raise DataError(
            "the saved state is that of another optimizer, with the options "
            f"{sorted(saved_options - own_options)}; compile the model with that one, or load the "
            "weights alone by load_weights"
        )
