"""How a run is set up, in values that JSON has."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["configuration_of"]

_LONGEST = 200


def configuration_of(run: Run) -> dict[str, Any]:
    """Return a run's arguments and those of its callbacks that differ from their defaults.

    It is for people to read, in a report; nothing goes by it.
    """
    configuration: dict[str, Any] = {"epochs": run.epoch_count}
    if run.initial_epoch:
        configuration["initial epoch"] = run.initial_epoch
    if run.steps is not None:
        configuration["steps per epoch"] = run.steps
    for callback in run.callbacks:
        arguments = _arguments_of(callback)
        if arguments:
            configuration[type(callback).__name__] = arguments
    return configuration


def _arguments_of(callback: object) -> dict[str, Any]:
    """Return the arguments that a callback keeps under their names, of the plain kinds."""
    found = {}
    for name, parameter in inspect.signature(type(callback)).parameters.items():
        value = getattr(callback, name, parameter.default)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        plain = value is None or isinstance(value, (bool, int, float, str))
        if plain and value != parameter.default:
            found[name] = value if not isinstance(value, str) else value[:_LONGEST]
    return found
