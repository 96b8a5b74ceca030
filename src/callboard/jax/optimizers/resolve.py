"""From what ``compile(optimizer=...)`` is given to an optimizer of optax."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from callboard._core.errors import ConfigurationError, UnknownNameError, UnsupportedError
from callboard.jax.settings import Settings

__all__ = ["NAMES", "composed", "name_of", "require_optax", "resolve_optimizer"]


class _Choice(NamedTuple):
    """An optimizer of optax with Keras's defaults.

    Attributes:
        name: Its name in optax.
        rate: Keras's default learning rate.
        options: What differs from optax's own defaults, or could one day.
    """

    name: str
    rate: float
    options: Mapping[str, Any]


_BETAS = {"b1": 0.9, "b2": 0.999, "eps": 1e-7}
_CHOICES = {
    "adadelta": _Choice("adadelta", 1e-3, {"rho": 0.95, "eps": 1e-7}),
    "adafactor": _Choice("adafactor", 1e-3, {}),
    "adagrad": _Choice("adagrad", 1e-3, {"initial_accumulator_value": 0.1, "eps": 1e-7}),
    "adam": _Choice("adam", 1e-3, _BETAS),
    "adamax": _Choice("adamax", 1e-3, _BETAS),
    "adamw": _Choice("adamw", 1e-3, {**_BETAS, "weight_decay": 0.004}),
    "lion": _Choice("lion", 1e-3, {"b1": 0.9, "b2": 0.99}),
    "nadam": _Choice("nadam", 1e-3, _BETAS),
    "rmsprop": _Choice("rmsprop", 1e-3, {"decay": 0.9, "eps": 1e-7, "eps_in_sqrt": True}),
    "sgd": _Choice("sgd", 0.01, {}),
}
NAMES = tuple(_CHOICES)


def require_optax() -> Any:
    """Return the optax module, or raise UnsupportedError that says how to install it."""
    try:
        import optax  # noqa: PLC0415 - an extra
    except ImportError:
        raise UnsupportedError(
            "training on JAX needs the optax package: pip install 'callboard[jax]'"
        ) from None
    return optax


def resolve_optimizer(identifier: Any) -> Any:
    """Return the optimizer of optax that is meant by what was given to ``compile``.

    Args:
        identifier: One of Keras's names in any case ("adam"), with Keras's default rates; an
            optimizer of optax, used as it is; or a function of optax that makes one from a
            ``learning_rate`` (``optax.lamb``), with the rate 0.001. Callbacks can set the rate of
            names and functions, and of what ``optax.inject_hyperparams`` made.

    Raises:
        UnknownNameError: For a name that is not known.
        ConfigurationError: For anything else.

    Example:
        >>> optimizer = resolve_optimizer("adam")
        >>> float(optimizer.init({"w": jnp.ones(1)}).hyperparams["learning_rate"])
        0.0010000000474974513
    """
    optax = require_optax()
    if isinstance(identifier, str):
        if identifier.lower() not in _CHOICES:
            raise UnknownNameError("optimizer", identifier, NAMES)
        choice = _CHOICES[identifier.lower()]
        make = getattr(optax, choice.name)
        # In half precision, with parameters of it, small changes of the rate would be lost.
        dtype = jnp.float32 if jax.dtypes.canonicalize_dtype(float) == jnp.float32 else None
        return _with_rate(optax, make, choice.rate, choice.options, dtype)
    if isinstance(identifier, optax.GradientTransformation):
        return identifier
    if isinstance(identifier, optax.MultiSteps):
        return identifier.gradient_transformation()
    if callable(identifier) and "learning_rate" in _parameters(identifier):
        return _with_rate(optax, identifier, 1e-3, {})
    raise ConfigurationError(
        "optimizer must be a name, an optimizer of optax (optax.adam(0.001)) or a function of "
        f"optax with an argument learning_rate (optax.adam); got {_told(identifier)}"
    )


def _told(identifier: Any) -> str:
    if hasattr(identifier, "tx"):  # nnx.Optimizer, which would print all its state
        return f"{type(identifier).__name__}(...); pass what it was made with, its tx"
    return repr(identifier)


def _with_rate(
    optax: Any,
    make: Callable[..., Any],
    rate: float,
    options: Mapping[str, Any],
    dtype: Any = None,
) -> Any:
    # Only the rate becomes a part of the state: what is constant, XLA computes once.
    constant = tuple(name for name in _parameters(make) if name != "learning_rate")
    return optax.inject_hyperparams(make, static_args=constant, hyperparam_dtype=dtype)(
        learning_rate=rate, **options
    )


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a callable that does not tell
        return []


def name_of(identifier: Any) -> str:
    """Return what an optimizer is called that was given by name or by its function in optax."""
    if isinstance(identifier, str):
        return identifier.lower()
    return getattr(identifier, "__name__", "")


def composed(optimizer: Any, settings: Settings) -> Any:
    """Return an optimizer that clips and gathers gradients as ``compile`` was told."""
    optax = require_optax()
    clip = _clipping(optax, settings)
    if clip is not None:
        optimizer = optax.chain(clip, optimizer)
    if settings.gradient_accumulation_steps > 1:
        optimizer = optax.MultiSteps(
            optimizer, settings.gradient_accumulation_steps
        ).gradient_transformation()
    return optimizer


def _clipping(optax: Any, settings: Settings) -> Any:
    """Return what clips gradients as Keras's optimizers do; None if nothing is asked for."""
    if settings.clipvalue is not None:
        return optax.clip(settings.clipvalue)
    if settings.global_clipnorm is not None:
        return optax.clip_by_global_norm(settings.global_clipnorm)
    limit = settings.clipnorm
    if limit is None:
        return None

    def by_norm(gradient: jax.Array) -> jax.Array:
        norm = jnp.sqrt(jnp.square(gradient).sum())
        return gradient * (limit / jnp.maximum(norm, limit))

    return optax.stateless(lambda gradients, _: jax.tree.map(by_norm, gradients))
