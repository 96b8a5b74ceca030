"""From what ``compile(loss=...)`` is given to a loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from callboard._core.errors import ConfigurationError, UnknownNameError
from callboard._core.names import snake_case
from callboard.jax.losses.adapted import CrossentropyByShape, FunctionLoss, OptaxLoss
from callboard.jax.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy
from callboard.jax.losses.focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from callboard.jax.losses.loss import Loss
from callboard.jax.losses.margin import CategoricalHinge, Hinge, SquaredHinge
from callboard.jax.losses.regression import (
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
)
from callboard.jax.losses.similarity import CosineSimilarity, Dice, KLDivergence, Tversky
from callboard.jax.losses.sparse_crossentropy import SparseCategoricalCrossentropy

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


def resolve_loss(identifier: Any) -> Loss:
    """Return the loss that is meant by what was given to ``compile``.

    Args:
        identifier: One of Keras's names ("mse", "sparse_categorical_crossentropy",
            "MeanSquaredError"), "crossentropy" (chosen by shapes), a :class:`Loss`, a loss of
            optax (called as ``fn(y_pred, y_true)``), or a function ``fn(y_true, y_pred)`` that
            returns a value per sample or a single one.

    Raises:
        UnknownNameError: For a name that is not known.
        ConfigurationError: For a class instead of an instance, and for what cannot be called.

    Example:
        >>> import optax
        >>> resolve_loss("mse").name, resolve_loss(optax.losses.l2_loss).name
        ('mean_squared_error', 'l2_loss')
    """
    if isinstance(identifier, str):
        return _named(identifier)
    if isinstance(identifier, Loss):
        return identifier
    if inspect.isclass(identifier):
        name = identifier.__name__
        raise ConfigurationError(f"loss={name} is a class; call it to make a loss: loss={name}()")
    module = str(getattr(identifier, "__module__", ""))
    if module == "optax" or module.startswith("optax."):
        return OptaxLoss(identifier)
    if callable(identifier):
        return FunctionLoss(identifier)
    raise ConfigurationError(
        f"loss must be a name, a Loss, a loss of optax or a function of (y_true, y_pred); "
        f"got {identifier!r}"
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
