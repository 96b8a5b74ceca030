"""Losses of other makes under our interface: PyTorch's modules, functions, a choice by shape."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from callboard._core.errors import ConfigurationError, DataError
from callboard._core.names import snake_case
from callboard.torch.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy
from callboard.torch.losses.loss import Loss, of_one_type, reduced, same_shape
from callboard.torch.losses.sparse_crossentropy import SparseCategoricalCrossentropy

__all__ = ["CrossentropyByShape", "FunctionLoss", "ModuleLoss", "is_binary", "is_sparse"]

# What PyTorch's own modules expect of targets. Targets of other modules are passed as they are.
_CLASS_NUMBERS = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
_NUMBERS = (
    nn.BCELoss,
    nn.BCEWithLogitsLoss,
    nn.HingeEmbeddingLoss,
    nn.HuberLoss,
    nn.KLDivLoss,
    nn.L1Loss,
    nn.MSELoss,
    nn.MultiLabelSoftMarginLoss,
    nn.PoissonNLLLoss,
    nn.SmoothL1Loss,
    nn.SoftMarginLoss,
)


class ModuleLoss(Loss):
    """A loss module of PyTorch, called in PyTorch's order: ``module(y_pred, y_true)``.

    For PyTorch's own modules targets get the type they need (int64 class numbers or the float type
    of the predictions), and a last axis of length 1 is added or removed as for the other losses.

    Args:
        module: The module. Weights per sample need one with an attribute ``reduction``.

    Attributes:
        module: The module; move it to the device of the predictions if it has weights of its own.

    Example:
        >>> import torch
        >>> loss = ModuleLoss(nn.CrossEntropyLoss())
        >>> loss(torch.tensor([[1]], dtype=torch.int32), torch.tensor([[0.0, 0.0]]))
        tensor(0.6931)
    """

    def __init__(self, module: nn.Module) -> None:
        reduction = getattr(module, "reduction", None)
        super().__init__(snake_case(type(module).__name__), "sum" if reduction == "sum" else "mean")
        self.module = module
        self._by_batch = reduction == "batchmean"
        self._unreduced: nn.Module | None = None
        if reduction is not None:
            # A shallow copy: weights stay shared, and follow the module to another device.
            self._unreduced = copy.copy(module)
            self._unreduced.reduction = "none"  # type: ignore[assignment] # a plain attribute

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the module's values without its reduction.

        Raises:
            ConfigurationError: If the module has no attribute ``reduction``.
        """
        if self._unreduced is None:
            raise ConfigurationError(
                f"sample weights need a loss for each sample, and {type(self.module).__name__} "
                "has no attribute 'reduction' to ask for them; give it one that accepts 'none', "
                "or train without sample weights"
            )
        y_true, y_pred = of_one_type(y_true, y_pred)
        values: Tensor = self._unreduced(y_pred, self._target(y_true, y_pred))
        return values.flatten(1).sum(1) if self._by_batch and values.ndim > 1 else values

    def mean(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return what the module itself gives, reduced to one number."""
        y_true, y_pred = of_one_type(y_true, y_pred)
        value: Tensor = self.module(y_pred, self._target(y_true, y_pred))
        return value.mean() if value.ndim else value

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | float | None = None
    ) -> Tensor:
        """Return the module's loss of a batch; with weights, their weighted mean or sum."""
        if sample_weight is None:
            return self.mean(y_true, y_pred)
        return reduced(self.call(y_true, y_pred), sample_weight, self.reduction)

    def _target(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if isinstance(self.module, _CLASS_NUMBERS):
            return _class_numbers(y_true, y_pred)
        if isinstance(self.module, _NUMBERS):
            return _numbers(y_true, y_pred)
        return y_true


def _numbers(y_true: Tensor, y_pred: Tensor) -> Tensor:
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true = y_true.squeeze(-1)
    elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_true = y_true.unsqueeze(-1)
    return same_shape(y_true, y_pred)[0].to(y_pred.dtype)


def _class_numbers(y_true: Tensor, y_pred: Tensor) -> Tensor:
    if y_true.ndim == y_pred.ndim > 1 and y_true.shape[1] == 1 != y_pred.shape[1]:
        y_true = y_true.squeeze(1)
    if y_true.ndim == y_pred.ndim:  # probabilities of classes
        return y_true.to(y_pred.dtype)
    return y_true.long()


class FunctionLoss(Loss):
    """A function ``fn(y_true, y_pred)``, in Keras's order of arguments.

    Args:
        function: Returns a value per sample, shape (batch,) or (batch, ...), or a single value for
            the batch, to which no weights can be applied.
        name: Name of the loss; by default the function's.

    Example:
        >>> import torch
        >>> loss = FunctionLoss(lambda y_true, y_pred: (y_true - y_pred).abs().mean(-1), "off")
        >>> loss(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]]), torch.tensor([1, 3]))
        tensor(3.)
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or _name_of(function))
        self._function = function

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return what the function returns.

        Raises:
            DataError: If that is not a tensor.
        """
        values = self._function(*of_one_type(y_true, y_pred))
        if not isinstance(values, Tensor):
            raise DataError(
                f"the loss function {self.name!r} must return a tensor of shape (batch,) or (); "
                f"it returned a {type(values).__name__}"
            )
        return values


def _name_of(function: object) -> str:
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    return snake_case(name if isinstance(name, str) else type(function).__name__) or "loss"


class CrossentropyByShape(Loss):
    """The cross-entropy that fits: binary, categorical or sparse, by the shapes of a batch.

    Args:
        name: Name of the loss.

    Example:
        >>> import torch
        >>> loss = CrossentropyByShape()
        >>> loss(torch.tensor([1]), torch.tensor([[0.75, 0.25]]))
        tensor(1.3863)
        >>> loss(torch.tensor([[1]]), torch.tensor([[0.5]]))
        tensor(0.6931)

    Source: Keras 3.15, ``loss="crossentropy"`` in ``compile``.
    """

    def __init__(self, name: str = "crossentropy") -> None:
        super().__init__(name)
        self._binary = BinaryCrossentropy()
        self._sparse = SparseCategoricalCrossentropy()
        self._categorical = CategoricalCrossentropy()

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Return the values of the cross-entropy that fits."""
        if is_binary(y_pred):
            return self._binary.call(y_true, y_pred)
        if is_sparse(y_true, y_pred):
            return self._sparse.call(y_true, y_pred)
        return self._categorical.call(y_true, y_pred)


def is_binary(y_pred: Tensor) -> bool:
    """Say whether predictions have a single output unit, or none at all, shape (batch,)."""
    return y_pred.ndim < 2 or y_pred.shape[-1] == 1


def is_sparse(y_true: Tensor, y_pred: Tensor) -> bool:
    """Say whether targets lack the axis of the classes, or have it with a length of 1."""
    return y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
