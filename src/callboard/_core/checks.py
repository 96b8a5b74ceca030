"""Mistakes that show before the first batch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from callboard._core import frameworks
from callboard._core.callback import HOOKS, Callback
from callboard._core.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["ConfigurationWarning", "check_configuration"]


class ConfigurationWarning(UserWarning):
    """A combination of settings that likely does something else than what was wanted."""


def check_configuration(run: Run) -> None:
    """Check a run's callbacks, each alone and all together.

    Raises:
        ConfigurationError: For what surely cannot work; what likely does not is a
            :class:`ConfigurationWarning`.
    """
    run.callbacks.each("check")
    for callback in run.callbacks:
        if not isinstance(callback, Callback):
            frameworks.check_foreign(callback, run.model, run.metrics)
    ours = [callback for callback in run.callbacks if isinstance(callback, Callback)]
    _check_writers(ours)
    _check_rate_control(ours, run.rate_controller)
    _check_hook_names(ours)


def _check_writers(callbacks: list[Callback]) -> None:
    owner: dict[Path, str] = {}
    for callback in callbacks:
        for path in callback.writes():
            name = type(callback).__name__
            resolved = path.resolve()
            if resolved in owner:
                raise ConfigurationError(
                    f"{owner[resolved]} and {name} both write {str(path)!r}; "
                    "give each a path of its own"
                )
            owner[resolved] = name


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
        for name in vars(type(callback)):
            if name.startswith("on_") and name not in HOOKS:
                close = nearest(name, HOOKS)
                if close:
                    warnings.warn(
                        f"{type(callback).__name__}.{name} is no hook and is never called.{close}",
                        ConfigurationWarning,
                        stacklevel=5,
                    )
