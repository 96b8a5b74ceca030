"""Callbacks from plain functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from callboard._core.callback import HOOKS, Callback
from callboard._core.errors import ConfigurationError, UnknownArgumentError, nearest

__all__ = ["LambdaCallback"]


class LambdaCallback(Callback):
    """Call functions at the hooks they are named after.

    Args:
        on_epoch_begin: Called with ``(epoch, logs)``.
        on_epoch_end: Called with ``(epoch, logs)``.
        on_train_begin: Called with ``(logs)``.
        on_train_end: Called with ``(logs)``.
        on_train_batch_begin: Called with ``(batch, logs)``.
        on_train_batch_end: Called with ``(batch, logs)``.
        **hooks: Any other hook of :class:`Callback` by its name.

    Raises:
        UnknownArgumentError: For a name that is no hook.
        ConfigurationError: For what is no function.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> shout = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
        >>> _ = ScriptedRun([0.5], monitor="loss").play(shout)
        0 0.5

    Source: Keras 3.15 ``LambdaCallback``, which takes any name and never calls unknown ones.
    """

    adds: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self,
        on_epoch_begin: Callable[..., object] | None = None,
        on_epoch_end: Callable[..., object] | None = None,
        on_train_begin: Callable[..., object] | None = None,
        on_train_end: Callable[..., object] | None = None,
        on_train_batch_begin: Callable[..., object] | None = None,
        on_train_batch_end: Callable[..., object] | None = None,
        **hooks: Callable[..., Any] | None,
    ) -> None:
        hooks |= {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        for name, function in hooks.items():
            if name not in HOOKS:
                raise UnknownArgumentError(
                    f"LambdaCallback has no hook {name!r}.{nearest(name, HOOKS)} "
                    f"Allowed: {', '.join(HOOKS)}"
                )
            if function is None:
                continue
            if not callable(function):
                raise ConfigurationError(f"{name} must be a function; got {function!r}")
            setattr(self, name, function)
