"""Moving averages of the weights of a torch module."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from callboard._core.errors import ConfigurationError, DataError
from callboard.torch import distributed
from callboard.torch.arrays import widened

if TYPE_CHECKING:
    from callboard.torch.model import Model

__all__ = ["ForeignAverages", "WeightAverages"]


class _Exchange(abc.ABC):
    """Puts other values in the place of weights, and the weights' own back."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._own: dict[str, Tensor] = {}

    @property
    def in_model(self) -> bool:
        """Whether the averages are in the model."""
        return bool(self._own)

    @abc.abstractmethod
    def _values(self) -> Mapping[str, Tensor]:
        """Return the averages by the names of the weights."""

    def _weights(self) -> dict[str, Tensor]:
        return dict(distributed.unwrapped(self._model.module).named_parameters())

    @torch.no_grad()
    def put(self) -> None:
        """Have the averages in the model, if there are any yet, and keep its own weights."""
        if self.in_model:
            return
        weights, values = self._weights(), self._values()
        with torch.inference_mode(mode=False):  # else a copy made now could not be changed later
            self._own = {name: weights[name].detach().clone() for name in values}
            for name, value in values.items():
                weights[name].detach().copy_(value)

    @torch.no_grad()
    def take(self) -> None:
        """Put the model's own weights back."""
        weights = self._weights()
        with torch.inference_mode(mode=False):
            for name, value in self._own.items():
                weights[name].detach().copy_(value)
        self._own = {}

    def leave(self) -> None:
        """Leave the averages in the model for good."""
        self.put()
        self._own = {}

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept, as it is."""
        return {"own": dict(self._own)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        self._own = self._fitting(state["own"])

    def _fitting(self, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights = self._weights()
        for name, value in saved.items():
            if name not in weights or weights[name].shape != value.shape:
                raise DataError(f"the saved average {name!r} is of a weight of another model")
        return {name: v.to(weights[name].device, copy=True) for name, v in saved.items()}


class WeightAverages(_Exchange):
    """Exponential moving averages, that follow the optimizer from update to update.

    After the first update they are the weights; after every later one, momentum times themselves
    plus the rest times the weights. Averages of weights in half precision are kept in float32, as
    small changes would be lost. Buffers are not averaged.

    Args:
        model: A model that has an optimizer.
        momentum: Share of the averages that an update leaves.
    """

    def __init__(self, model: Model, momentum: float) -> None:
        super().__init__(model)
        self._momentum = momentum
        self._averages: dict[str, Tensor] = {}
        optimizer = model.trainable.require_optimizer()
        trained = {id(p) for p in optimizer.parameters()}
        self._names = [name for name, p in self._weights().items() if id(p) in trained]
        self._hook = optimizer.wrapped.register_step_post_hook(lambda *_: self.update())

    def close(self) -> None:
        """Follow the optimizer no longer."""
        self._hook.remove()
        self._model.trainable.active_averages = None

    @torch.no_grad()
    def update(self, updates: int = 1) -> None:
        """Take in the weights after so many updates."""
        if self.in_model:
            return
        every = self._weights()
        weights = {name: every[name].detach() for name in self._names}
        if not self._averages:
            self._averages = {name: widened(w).clone() for name, w in weights.items()}
            return
        now = [widened(weight) for weight in weights.values()]
        share = 1 - self._momentum**updates
        torch._foreach_lerp_(list(self._averages.values()), now, share)

    def _values(self) -> Mapping[str, Tensor]:
        return self._averages

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, and the model's own weights while these are in it."""
        return {**super().state_dict(), "averages": dict(self._averages)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``."""
        super().load_state_dict(state)
        self._averages = self._fitting(state["averages"])


class ForeignAverages(_Exchange):
    """Averages that the user's loop keeps in an ``AveragedModel`` of PyTorch.

    Args:
        model: The model.
        averaged: Its averages.
    """

    def __init__(self, model: Model, averaged: AveragedModel) -> None:
        super().__init__(model)
        self._averaged = averaged
        names = {name for name, _ in averaged.module.named_parameters()}
        if names != self._weights().keys():
            raise ConfigurationError(
                "averages= is an AveragedModel of another module; make it of the one that is "
                "trained: AveragedModel(net)"
            )

    def close(self) -> None:
        """The user's loop goes on following."""

    def update(self, updates: int = 1) -> None:
        """The user's loop calls ``update_parameters``."""

    def _values(self) -> Mapping[str, Tensor]:
        if not int(self._averaged.n_averaged):
            return {}
        return {name: p.detach() for name, p in self._averaged.module.named_parameters()}
