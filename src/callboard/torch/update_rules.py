"""The updates of torch's usual optimizers as functions, for a training step compiled as a whole.

Each takes a weight, its gradient, the optimizer's state of it, the learning rate and factors that
depend on the number of the step alone, and returns the new weight and state: the arithmetic of
``torch.optim``, without changing anything in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["Rule", "State", "factors_of", "rule_of"]

State = dict[str, Tensor]
Rule = Callable[[Tensor, Tensor, State, Tensor, Tensor, Mapping[str, Any]], tuple[Tensor, State]]

# Options that these functions do not know; with one of them the optimizer steps by itself.
_UNUSUAL = ("amsgrad", "maximize", "centered", "differentiable")


def rule_of(optimizer: torch.optim.Optimizer) -> Rule | None:
    """Return the function that updates as this optimizer does, or None if there is none."""
    if any(group.get(option) for group in optimizer.param_groups for option in _UNUSUAL):
        return None
    return _RULES.get(type(optimizer))


def factors_of(states: list[State], group: Mapping[str, Any], steps: int) -> Tensor:
    """Return the factors of some weights' next steps, shape (weights, steps, 2).

    For Adam these are its bias corrections. They are powers, and computed here once for each step:
    compiled code would compute them for each element of a weight.

    Args:
        states: The optimizer's states of the weights.
        group: The group they are in.
        steps: How many steps.
    """
    done = [state["step"] for state in states if "step" in state]
    if "betas" not in group or not done:
        return torch.ones(len(states), steps, 2)
    beta1, beta2 = group["betas"]
    number = torch.stack(done).unsqueeze(1) + torch.arange(1, steps + 1, device=done[0].device)
    if any(value.dtype is torch.float64 for state in states for value in state.values()):
        number = number.double()
    # 1 - beta**number, which in float32 would lose most of its digits for a beta close to 1.
    first, second = (
        -torch.expm1(number * (math.log(beta) if beta else -math.inf)) for beta in (beta1, beta2)
    )
    return torch.stack([1 / first, second.rsqrt()], dim=-1)


def _adam(
    weight: Tensor,
    gradient: Tensor,
    state: State,
    rate: Tensor,
    factors: Tensor,
    group: Mapping[str, Any],
) -> tuple[Tensor, State]:
    if group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * weight
    return _adam_update(weight, gradient, state, rate, factors, group)


def _adamw(
    weight: Tensor,
    gradient: Tensor,
    state: State,
    rate: Tensor,
    factors: Tensor,
    group: Mapping[str, Any],
) -> tuple[Tensor, State]:
    weight = weight * (1 - rate * group["weight_decay"])
    return _adam_update(weight, gradient, state, rate, factors, group)


def _adam_update(
    weight: Tensor,
    gradient: Tensor,
    state: State,
    rate: Tensor,
    factors: Tensor,
    group: Mapping[str, Any],
) -> tuple[Tensor, State]:
    beta1, beta2 = group["betas"]
    mean = torch.lerp(state["exp_avg"], gradient, 1 - beta1)
    square = state["exp_avg_sq"] * beta2 + gradient * gradient * (1 - beta2)
    spread = square.sqrt() * factors[1] + group["eps"]
    weight = weight - rate * factors[0] * (mean / spread)
    return weight, {"step": state["step"] + 1, "exp_avg": mean, "exp_avg_sq": square}


def _sgd(
    weight: Tensor,
    gradient: Tensor,
    state: State,
    rate: Tensor,
    _factors: Tensor,
    group: Mapping[str, Any],
) -> tuple[Tensor, State]:
    if group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * weight
    if not group["momentum"]:
        return weight - rate * gradient, {}
    moving = state["momentum_buffer"] * group["momentum"] + gradient * (1 - group["dampening"])
    direction = gradient + moving * group["momentum"] if group["nesterov"] else moving
    return weight - rate * direction, {"momentum_buffer": moving}


def _rmsprop(
    weight: Tensor,
    gradient: Tensor,
    state: State,
    rate: Tensor,
    _factors: Tensor,
    group: Mapping[str, Any],
) -> tuple[Tensor, State]:
    if group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * weight
    square = state["square_avg"] * group["alpha"] + gradient * gradient * (1 - group["alpha"])
    new = {"step": state["step"] + 1, "square_avg": square}
    direction = gradient / (square.sqrt() + group["eps"])
    if group["momentum"]:
        direction = state["momentum_buffer"] * group["momentum"] + direction
        new["momentum_buffer"] = direction
    return weight - rate * direction, new


_RULES: dict[type[torch.optim.Optimizer], Rule] = {
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adamw,
    torch.optim.SGD: _sgd,
    torch.optim.RMSprop: _rmsprop,
}
