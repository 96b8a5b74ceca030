"""Mistakes that show before the first batch."""

from __future__ import annotations

import functools
import inspect
import itertools
import warnings
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

from callboard._core import frameworks
from callboard._core.callback import HOOKS, Callback, is_default
from callboard._core.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["ConfigurationWarning", "check_configuration", "check_free"]


class ConfigurationWarning(UserWarning):
    """A combination of settings that likely does something else than what was wanted."""


def check_configuration(run: Run) -> None:
    """Check a run's callbacks, each alone and all together.

    Raises:
        ConfigurationError: For what surely cannot work; what likely does not is a
            :class:`ConfigurationWarning`.
    """
    for callback in run.callbacks:
        _check_hooks(callback)
    run.callbacks.each("check")
    for callback in run.callbacks:
        if not isinstance(callback, Callback):
            frameworks.check_foreign(callback, run.model, run.metrics)
    ours = [callback for callback in run.callbacks if isinstance(callback, Callback)]
    _check_writers(ours)
    _check_rate_can_be_set(ours, run)
    _check_rate_control(ours, run.rate_controller)
    _check_hook_names(ours)


def check_free(run: Run) -> None:
    """Check that no callback takes part in another training that goes on.

    Raises:
        ConfigurationError: If one does: it would mix up what it knows of the two.
    """
    if run.purpose != "train":
        return
    for callback in run.callbacks:
        other = getattr(callback, "_run", None)
        if other is None or other.is_over or other.purpose != "train" or not other.ends_surely:
            continue
        if not any(callback is witness for witness in run.witnesses):
            raise ConfigurationError(
                f"this {type(callback).__name__} takes part in another run that goes on; give "
                "each run an object of its own"
            )


def _check_hooks(callback: object) -> None:
    """Check that hooks can be called as they will be; a mistake would show after an epoch only."""
    name = type(callback).__name__
    adds = getattr(callback, "adds", None)
    if isinstance(adds, str):
        raise ConfigurationError(
            f"{name}.adds must be names of metrics and is a text; write adds = ({adds!r},)"
        )
    for hook in HOOKS:
        method = getattr(callback, hook, None)
        if method is None or is_default(method):
            continue
        if inspect.isgeneratorfunction(method) or inspect.iscoroutinefunction(method):
            kind = "a generator" if inspect.isgeneratorfunction(method) else "async"
            raise ConfigurationError(
                f"{name}.{hook} is {kind}, so calling it would not run it; make it a plain function"
            )
        given = list(_signature(getattr(Callback, hook)).parameters.values())[1:]
        bound = inspect.ismethod(method)
        try:
            # Of functions of classes alone: what is remembered is kept, and others hold models.
            signature = _signature(method.__func__) if bound else inspect.signature(method)
        except (TypeError, ValueError):  # some built-in functions have none
            continue
        try:
            signature.bind(*([callback] if bound else []), *given)
        except TypeError as error:
            names = ", ".join(str(parameter.name) for parameter in given)
            signature = inspect.signature(method)  # without self
            raise ConfigurationError(
                f"{name}.{hook} takes {signature}, and is called with ({names}): {error}"
            ) from None


@functools.lru_cache(maxsize=512)
def _signature(function: FunctionType) -> inspect.Signature:
    """Return a signature; to make one takes longer than to call most hooks for an epoch."""
    return inspect.signature(function)


def _check_writers(callbacks: list[Callback]) -> None:
    owner: dict[Path, str] = {}
    for callback in callbacks:
        for path in callback.writes():
            name = type(callback).__name__
            resolved = Path(path).resolve()
            if resolved in owner:
                raise ConfigurationError(
                    f"{owner[resolved]} and {name} both write {str(path)!r}; "
                    "give each a path of its own"
                )
            owner[resolved] = name


def _check_rate_can_be_set(callbacks: list[Callback], run: Run) -> None:
    setter = next((callback for callback in callbacks if callback.rate_control), None)
    if setter is not None and not getattr(run.trainable, "rate_can_be_set", True):
        raise ConfigurationError(
            f"{type(setter).__name__} sets the learning rate, and {run.rate_controller} sets it "
            "anew in every step; make the optimizer with a number for it, or leave the callback out"
        )


def _check_rate_control(callbacks: list[Callback], framework_scheduler: str) -> None:
    names = [type(c).__name__ for c in callbacks if c.rate_control]
    setters = [type(c).__name__ for c in callbacks if c.rate_control == "sets"]
    if framework_scheduler:
        names.append(framework_scheduler)
    if len(names) < 2:
        return
    both = " and ".join(names)
    if setters:
        raise ConfigurationError(
            f"{both} all control the learning rate, and {setters[0]} sets it anew every epoch, so "
            "what the others do is lost; use one of them, or a schedule(epoch, lr) that starts "
            "from the rate it is given"
        )
    warnings.warn(
        f"{both} both change the learning rate, so it may fall faster than either of them alone "
        "would make it; usually one of them is meant",
        ConfigurationWarning,
        stacklevel=5,
    )


def _check_hook_names(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        kinds = itertools.takewhile(lambda kind: kind is not Callback, type(callback).__mro__)
        for name in {name: None for kind in kinds for name in vars(kind)}:
            if name.startswith("on_") and name not in HOOKS:
                close = nearest(name, HOOKS)
                if close:
                    warnings.warn(
                        f"{type(callback).__name__}.{name} is no hook and is never called.{close}",
                        ConfigurationWarning,
                        stacklevel=5,
                    )
