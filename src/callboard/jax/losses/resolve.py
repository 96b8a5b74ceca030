"""From what ``compile(loss=...)`` is given to a loss."""

from __future__ import annotations

from typing import cast

from callboard._core.objective_names import LossKinds, losses_by_name
from callboard.jax.losses import (
    crossentropy,
    focal,
    margin,
    regression,
    similarity,
    sparse_crossentropy,
)
from callboard.jax.losses.adapted import CrossentropyByShape, FunctionLoss, OptaxLoss
from callboard.jax.losses.loss import Loss

__all__ = ["NAMES", "resolve_loss"]

NAMES: dict[str, type[Loss]] = losses_by_name(
    (crossentropy, focal, margin, regression, similarity, sparse_crossentropy)
)
_KINDS = LossKinds(
    base=Loss,
    names=NAMES,
    by_shape=CrossentropyByShape,
    of_function=FunctionLoss,
    others="a loss of optax",
)


def resolve_loss(identifier: object) -> Loss:
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
    module = str(getattr(identifier, "__module__", ""))
    if callable(identifier) and (module == "optax" or module.startswith("optax.")):
        return OptaxLoss(identifier)
    return cast("Loss", _KINDS.resolve(identifier))
