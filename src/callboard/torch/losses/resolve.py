"""From what ``compile(loss=...)`` is given to a loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import nn

from callboard._core.errors import ConfigurationError, UnknownNameError
from callboard._core.names import snake_case
from callboard.torch.losses.adapted import CrossentropyByShape, FunctionLoss, ModuleLoss
from callboard.torch.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy
from callboard.torch.losses.focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from callboard.torch.losses.loss import Loss
from callboard.torch.losses.margin import CategoricalHinge, Hinge, SquaredHinge
from callboard.torch.losses.regression import (
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
)
from callboard.torch.losses.similarity import CosineSimilarity, Dice, KLDivergence, Tversky
from callboard.torch.losses.sparse_crossentropy import SparseCategoricalCrossentropy

__all__ = ["NAMES", "resolve_loss"]

_CLASSES: tuple[Callable[[], Loss], ...] = (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalHinge,
    CosineSimilarity,
    Dice,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
    Tversky,
)
_ALIASES: dict[str, Callable[[], Loss]] = {
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
}


def _function_name(class_name: str) -> str:
    return "kl_divergence" if class_name == "KLDivergence" else snake_case(class_name)


def _names() -> dict[str, Callable[[], Loss]]:
    names: dict[str, Callable[[], Loss]] = {}
    for make in _CLASSES:
        class_name = str(getattr(make, "__name__", ""))
        names[class_name] = names[_function_name(class_name)] = make
    for alias, make in _ALIASES.items():
        names[alias] = names[alias.upper()] = make
    return names


NAMES = _names()


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
    if isinstance(identifier, str):
        return _named(identifier)
    if isinstance(identifier, Loss):
        return identifier
    if inspect.isclass(identifier):
        name = identifier.__name__
        raise ConfigurationError(f"loss={name} is a class; call it to make a loss: loss={name}()")
    if isinstance(identifier, nn.Module):
        return ModuleLoss(identifier)
    if getattr(identifier, "__module__", None) in ("torch.nn.functional", "torch._C._nn"):
        raise ConfigurationError(
            f"loss={getattr(identifier, '__name__', identifier)} takes (y_pred, y_true), and a "
            "loss function is called with (y_true, y_pred); pass PyTorch's loss module instead, "
            "or lambda y_true, y_pred: ..."
        )
    if callable(identifier):
        return FunctionLoss(identifier)
    raise ConfigurationError(
        f"loss must be a name, a Loss, a loss module of PyTorch or a function of "
        f"(y_true, y_pred); got {identifier!r}"
    )


def _named(name: str) -> Loss:
    if name.lower() in ("crossentropy", "ce"):
        return CrossentropyByShape()
    if name not in NAMES:
        raise UnknownNameError("loss", name, NAMES)
    loss = NAMES[name]()
    if name == "huber":
        # The one function whose class goes by another name in logs.
        loss.name = name
    return loss
