"""From a batch to its loss and predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from callboard._core.errors import ConfigurationError, DataError
from callboard.torch.data import Batch
from callboard.torch.losses import Loss
from callboard.torch.objectives import Head, Objectives

__all__ = ["ForwardPass", "Outcome"]


class Outcome(NamedTuple):
    """What a forward pass gave.

    Attributes:
        loss: The number to be made smaller, a 0-d tensor.
        parts: The loss of each head that has one.
        predictions: The predictions of each head, for its metrics.
    """

    loss: Tensor
    parts: tuple[Tensor, ...]
    predictions: tuple[Any, ...]


class ForwardPass:
    """Computes the loss and the predictions of batches.

    Where a module ends in a softmax or sigmoid and its loss takes probabilities, the loss is
    computed from what goes into that layer: in one kernel, and exact where a probability rounds
    to 0 or 1.

    Args:
        module: The module.
        forward: Calls the module on inputs.
        objectives: Its losses and metrics.
    """

    def __init__(
        self, module: nn.Module, forward: Callable[[Any], Any], objectives: Objectives
    ) -> None:
        self.heads = objectives.heads
        self._forward = forward
        self._losses = [head.loss for head in self.heads]
        self._activation: nn.Module | None = None
        self._logits_suffice = False
        self._expects_probabilities = [_takes_probabilities(head.loss) for head in self.heads]
        if len(self.heads) == 1:
            self._use_logits(module, self.heads[0])
        self._checked = False

    def __call__(self, batch: Batch) -> Outcome:
        """Return the outcome of a batch; the first one is checked for mistakes.

        Raises:
            DataError: If there are no targets, or they do not fit the outputs.
            ConfigurationError: If the loss takes probabilities and the outputs are none.
        """
        outputs = self._forward(batch.x)
        if not self._checked:
            self.check(outputs, batch)
        parts = []
        total: Tensor | None = None
        for head, loss in zip(self.heads, self._losses, strict=True):
            if loss is None:
                continue
            part = loss(head.of(batch.y), head.of(outputs), head.weight_of(batch.sample_weight))
            parts.append(part)
            weighted = part if head.weight == 1.0 else part * head.weight
            total = weighted if total is None else total + weighted
        if total is None:
            raise ConfigurationError("there is no loss; call model.compile(loss=...)")
        return Outcome(total, tuple(parts), self._predictions(outputs))

    def check(self, outputs: Any, batch: Batch) -> None:
        """Look for mistakes that show at the first batch; waits for the device once."""
        self._checked = True
        if batch.y is None:
            raise DataError("there are no targets: pass y, or data that yields (x, y)")
        if len(self.heads) == 1 and self.heads[0].key is None and not isinstance(outputs, Tensor):
            raise ConfigurationError(
                f"the module returns a {type(outputs).__name__}, and there is one loss; give a "
                "loss for each output: loss=[...] or loss={...}"
            )
        for head, expected in zip(self.heads, self._expects_probabilities, strict=True):
            if expected:
                _check_probabilities(head, head.of(outputs).detach())

    def _use_logits(self, module: nn.Module, head: Head) -> None:
        """Compute the loss before the module's last layer, if that is the activation it expects."""
        if type(module) is not nn.Sequential or len(module) < 2 or head.loss is None:
            return
        last = module[-1]
        on_logits = head.loss.on_logits()
        if on_logits is None or head.loss.links != _kind_of(last) or _has_hooks(module, last):
            return
        body = nn.Sequential(*list(module)[:-1])
        self._forward = lambda x: body(*x) if isinstance(x, tuple | list) else body(x)
        self._losses = [on_logits]
        self._activation = last
        metrics = (*head.metrics, *head.weighted_metrics)
        # The largest of several outputs is the same before a softmax; a threshold is not.
        self._logits_suffice = isinstance(last, nn.Softmax) and all(
            map(_softmax_invariant, metrics)
        )
        self._expects_probabilities = [False]

    def _predictions(self, outputs: Any) -> tuple[Any, ...]:
        if self._activation is None:
            return tuple(head.of(outputs).detach() for head in self.heads)
        logits = outputs.detach()
        return (logits if self._logits_suffice else self._activation(logits),)


def _takes_probabilities(loss: Loss | None) -> bool:
    return loss is not None and loss.on_logits() is not None


def _softmax_invariant(metric: object) -> bool:
    invariant: bool = getattr(metric, "softmax_invariant", False)
    return invariant


def _kind_of(layer: nn.Module) -> str:
    if type(layer) is nn.Sigmoid:
        return "sigmoid"
    # The losses take the last axis for the classes; of two axes, axis 1 is the last.
    if type(layer) is nn.Softmax and layer.dim in (-1, 1):
        return "softmax"
    return ""


def _has_hooks(*layers: nn.Module) -> bool:
    """Say whether somebody listens to a layer that would be passed over."""
    return any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)  # noqa: SLF001 - torch has no other way to ask


def _check_probabilities(head: Head, outputs: Tensor) -> None:
    low, high = (float(value) for value in torch.aminmax(outputs.float()))
    if low < -1e-3 or high > 1 + 1e-3:
        name = "" if head.loss is None else head.loss.name
        raise ConfigurationError(
            f"the loss {name!r} takes probabilities, and the outputs lie between {low:.3g} and "
            f"{high:.3g}; end the module in nn.Softmax or nn.Sigmoid, or pass the loss's class "
            "from callboard.torch.losses with from_logits=True"
        )
