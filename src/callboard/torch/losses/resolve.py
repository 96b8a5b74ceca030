"""From what ``compile(loss=...)`` is given to a loss."""

from __future__ import annotations

from typing import cast

from torch import nn

from callboard._core.errors import ConfigurationError
from callboard._core.objective_names import LossKinds, losses_by_name
from callboard.torch.losses import (
    crossentropy,
    focal,
    margin,
    regression,
    similarity,
    sparse_crossentropy,
)
from callboard.torch.losses.adapted import CrossentropyByShape, FunctionLoss, ModuleLoss
from callboard.torch.losses.loss import Loss

__all__ = ["NAMES", "resolve_loss"]

NAMES: dict[str, type[Loss]] = losses_by_name(
    (crossentropy, focal, margin, regression, similarity, sparse_crossentropy)
)
_KINDS = LossKinds(
    base=Loss,
    names=NAMES,
    by_shape=CrossentropyByShape,
    of_function=FunctionLoss,
    others="a loss module of PyTorch",
)


def resolve_loss(identifier: object) -> Loss:
    """Return the loss that is meant by what was given to ``compile``.

    Args:
        identifier: One of Keras's names ("mse", "sparse_categorical_crossentropy",
            "MeanSquaredError"), "crossentropy" (chosen by shapes), a :class:`Loss`, a loss module
            of PyTorch (called as ``module(y_pred, y_true)``), or a function
            ``fn(y_true, y_pred)`` that returns a value per sample or a single one.

    Raises:
        UnknownNameError: For a name that is not known.
        ConfigurationError: For a class instead of an instance, for a function of
            ``torch.nn.functional``, and for anything that cannot be called.

    Example:
        >>> resolve_loss("mse").name, resolve_loss(nn.HuberLoss()).name
        ('mean_squared_error', 'huber_loss')
    """
    if isinstance(identifier, nn.Module):
        return ModuleLoss(identifier)
    if getattr(identifier, "__module__", None) in ("torch.nn.functional", "torch._C._nn"):
        raise ConfigurationError(
            f"loss={getattr(identifier, '__name__', identifier)} takes (y_pred, y_true), and a "
            "loss function is called with (y_true, y_pred); pass PyTorch's loss module instead, "
            "or lambda y_true, y_pred: ..."
        )
    return cast("Loss", _KINDS.resolve(identifier))
