"""What ``model.optimizer`` is: an optimizer of PyTorch with a learning rate as in Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from callboard._core.errors import ConfigurationError, DataError
from callboard._core.learning_rate import LearningRate, valid_rate

__all__ = ["Optimizer"]


class Optimizer:
    """What ``model.optimizer`` is: an optimizer of PyTorch with a learning rate as in Keras.

    Everything but the attributes below is the optimizer's own: ``step``, ``zero_grad``,
    ``param_groups``, ``state_dict`` and the others.

    Args:
        optimizer: An optimizer of PyTorch.

    Attributes:
        wrapped: That optimizer, for what insists on one, such as PyTorch's schedulers.
        iterations: Number of updates made, counted by who makes them.

    Example:
        >>> optimizer = Optimizer(torch.optim.SGD(nn.Linear(2, 1).parameters(), lr=0.1))
        >>> optimizer.learning_rate = 0.05
        >>> optimizer.lr, optimizer.param_groups[0]["lr"], optimizer.iterations
        (0.05, 0.05, 0)
    """

    __slots__ = ("_iterations", "_last_set", "_ratios", "wrapped")

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.wrapped = optimizer
        self._iterations = 0
        self._last_set: list[float] = []
        self._ratios: list[float] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Optimizer.__slots__:
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    @property
    def learning_rate(self) -> LearningRate:
        """Rate of the first parameter group. Set it, and the others keep their ratio to it."""
        return LearningRate(float(self.wrapped.param_groups[0]["lr"]), self._set_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._set_rate(value)

    @property
    def lr(self) -> LearningRate:
        """The same as ``learning_rate``."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: float) -> None:
        self._set_rate(value)

    @property
    def iterations(self) -> int:
        """Number of updates made, counted by who makes them."""
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigurationError(f"iterations must be a whole number ≥ 0; got {value!r}")
        self._iterations = value

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters of all groups."""
        return [p for group in self.wrapped.param_groups for p in group["params"]]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``; learning rates that are tensors are set in place.

        Raises:
            DataError: If the state is that of other parameters; then nothing is changed.
        """
        groups = self.wrapped.param_groups
        rates = [group["lr"] for group in groups]
        try:
            self.wrapped.load_state_dict(dict(state))
        except (KeyError, ValueError) as error:
            raise DataError(
                f"the saved state does not fit this {type(self.wrapped).__name__}: {error}"
            ) from error
        for group, rate in zip(self.wrapped.param_groups, rates, strict=True):
            if isinstance(rate, Tensor):
                group["lr"] = rate.fill_(float(group["lr"]))
        self._last_set = []

    def full_state(self) -> dict[str, Any]:
        """Return the optimizer's state and what this class keeps besides."""
        return {
            **self.wrapped.state_dict(),
            "iterations": self._iterations,
            "last_set": list(self._last_set),
            "ratios": list(self._ratios),
        }

    def restore_full(self, state: Mapping[str, Any]) -> None:
        """Continue from ``full_state()``.

        Raises:
            DataError: If the state is that of another optimizer; then nothing is changed.
        """
        self.restore({"state": state["state"], "param_groups": state["param_groups"]})
        # PyTorch gives moments the type of their weight, which need not be the one they had.
        for index, parameter in enumerate(self.parameters()):
            own = self.wrapped.state.get(parameter, {})
            for name, value in state["state"].get(index, {}).items():
                if isinstance(value, Tensor) and own[name].dtype != value.dtype:
                    own[name] = value.to(own[name].device, copy=True)
        self._iterations = state["iterations"]
        self._last_set = list(state["last_set"])
        self._ratios = list(state["ratios"])

    def _set_rate(self, value: float) -> None:
        rate = valid_rate(value)
        groups = self.wrapped.param_groups
        if len(groups) > 1:
            self._note_ratios([float(group["lr"]) for group in groups])
        for index, group in enumerate(groups):
            wanted = rate * self._ratios[index] if index else rate
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(wanted)
            else:
                group["lr"] = wanted
        if len(groups) > 1:
            self._last_set = [float(group["lr"]) for group in groups]

    def _note_ratios(self, rates: list[float]) -> None:
        # Rates that were set here last keep the ratios they were set with: ratios of rounded rates
        # would drift, and those of a rate of 0 are lost.
        if rates == self._last_set:
            return
        if rates[0]:
            self._ratios = [rate / rates[0] for rate in rates]
        elif len(self._ratios) != len(rates):
            self._ratios = [1.0 for _ in rates]
