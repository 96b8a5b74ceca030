"""From a batch to its loss and predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from callboard._core.batches import Batch
from callboard._core.errors import ConfigurationError, DataError
from callboard.torch.losses import Loss
from callboard.torch.metrics import Metric
from callboard.torch.objectives import Head, Objectives

if TYPE_CHECKING:
    from callboard.torch.model import Model

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
        model: The model.
        objectives: Its losses and metrics.
    """

    def __init__(self, model: Model, objectives: Objectives) -> None:
        self.heads = objectives.heads
        self._model = model
        self._forward: Callable[[Any], Any] = model.forward
        self._losses = [head.loss for head in self.heads]
        self._shortcut: _Shortcut | None = None
        if len(self.heads) == 1 and not model.has_own_forward:
            self._shortcut = _shortcut_of(model.module, self.heads[0])
        self._checked = False

    def __call__(self, batch: Batch) -> Outcome:
        """Return the outcome of a batch; the first one is checked for mistakes.

        Raises:
            DataError: If there are no targets, or they do not fit the outputs.
            ConfigurationError: If the loss takes probabilities and the outputs are none.
        """
        shortcut = self._shortcut
        if shortcut is not None and shortcut.is_watched:
            shortcut = None
        forward = self._forward if shortcut is None else shortcut.logits
        if self._checked:
            outputs = forward(batch.x)
        else:
            with self._model.placement.explaining(batch.x):
                outputs = forward(batch.x)
            self._checked = True
            if shortcut is not None and not shortcut.fits(outputs):
                outputs, shortcut, self._shortcut = shortcut.activation(outputs), None, None
            self.check(outputs, batch, logits=shortcut is not None)
        losses = self._losses if shortcut is None else [shortcut.loss]
        parts = []
        total: Tensor | None = None
        for head, loss in zip(self.heads, losses, strict=True):
            if loss is None:
                continue
            part = loss(head.of(batch.y), head.of(outputs), head.weight_of(batch.sample_weight))
            parts.append(part)
            weighted = part if head.weight == 1.0 else part * head.weight
            total = weighted if total is None else total + weighted
        if total is None:
            raise ConfigurationError("there is no loss; call model.compile(loss=...)")
        if shortcut is not None:
            return Outcome(total, tuple(parts), (shortcut.predictions(outputs.detach()),))
        return Outcome(total, tuple(parts), tuple(head.of(outputs).detach() for head in self.heads))

    def compile(self) -> None:
        """Compile the module's part by torch.compile, in pieces where it is not possible as one."""
        self._forward = torch.compile(self._forward)
        if self._shortcut is not None:
            self._shortcut.compile()

    def check(self, outputs: Any, batch: Batch, *, logits: bool) -> None:
        """Look for mistakes that show at the first batch; waits for the device once."""
        if batch.y is None:
            raise DataError("there are no targets: pass y, or data that yields (x, y)")
        if self.heads[0].key is None and not isinstance(outputs, Tensor):
            raise ConfigurationError(
                f"the module returns a {type(outputs).__name__}, and there is one loss; give a "
                "loss for each output: loss=[...] or loss={...}"
            )
        for head in self.heads:
            if not logits and head.loss is not None and head.loss.on_logits() is not None:
                _check_probabilities(head, head.of(outputs).detach())


class _Shortcut:
    """The way to the loss that leaves out the module's last layer.

    Args:
        module: The module.
        loss: The loss on what goes into the last layer.
        metrics: The metrics of the module's output.
    """

    def __init__(self, module: nn.Sequential, loss: Loss, metrics: Sequence[Metric]) -> None:
        self.loss = loss
        self.activation = module[-1]
        self._module = module
        self._body: Callable[..., Any] = nn.Sequential(*list(module)[:-1])
        # The largest of several outputs is the same before a softmax; a threshold is not.
        self._logits_suffice = isinstance(self.activation, nn.Softmax) and all(
            getattr(metric, "softmax_invariant", False) for metric in metrics
        )

    @property
    def is_watched(self) -> bool:
        """Whether a hook waits for the module or its last layer to be called."""
        return _has_hooks(self._module) or _has_hooks(self.activation)

    def compile(self) -> None:
        """Compile the other layers."""
        self._body = torch.compile(self._body)

    def logits(self, x: Any) -> Any:
        """Return what goes into the last layer."""
        return self._body(*x) if isinstance(x, tuple | list) else self._body(x)

    def predictions(self, logits: Tensor) -> Tensor:
        """Return what the metrics are computed from."""
        if self._logits_suffice:
            return logits
        outputs: Tensor = self.activation(logits)
        return outputs

    def fits(self, logits: Any) -> bool:
        """Say whether the last layer's softmax goes over the axis that the loss has classes on."""
        if not isinstance(self.activation, nn.Softmax):
            return True
        axis: int = getattr(self.loss, "axis", -1)
        return bool((axis - (self.activation.dim or 0)) % logits.ndim == 0)


def _shortcut_of(module: nn.Module, head: Head) -> _Shortcut | None:
    """Return the shortcut of a module that ends in the activation that its loss expects."""
    if type(module) is not nn.Sequential or len(module) < 2 or head.loss is None:
        return None
    on_logits = head.loss.on_logits()
    if on_logits is None or head.loss.links != _kind_of(module[-1]):
        return None
    return _Shortcut(module, on_logits, (*head.metrics, *head.weighted_metrics))


def _kind_of(layer: nn.Module) -> str:
    if type(layer) is nn.Sigmoid:
        return "sigmoid"
    return "softmax" if type(layer) is nn.Softmax and layer.dim is not None else ""


def _has_hooks(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks  # noqa: SLF001 - torch has no other way to ask
        or layer._forward_pre_hooks  # noqa: SLF001 - the same
        or layer._backward_hooks  # noqa: SLF001 - the same
        or layer._backward_pre_hooks  # noqa: SLF001 - the same
    )


def _check_probabilities(head: Head, outputs: Tensor) -> None:
    low, high = (float(value) for value in torch.aminmax(outputs.float()))
    if low < -1e-3 or high > 1 + 1e-3:
        name = "" if head.loss is None else head.loss.name
        raise ConfigurationError(
            f"the loss {name!r} takes probabilities, and the outputs lie between {low:.3g} and "
            f"{high:.3g}; end the module in nn.Softmax or nn.Sigmoid, or pass the loss's class "
            "from callboard.torch.losses with from_logits=True"
        )
