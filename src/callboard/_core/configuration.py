"""How a run is set up, in values that JSON has."""

from __future__ import annotations

import contextlib
import inspect
import os
from typing import TYPE_CHECKING, Any

from callboard._core.errors import UnsupportedError
from callboard._core.inspection import inspection_of

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["Configuration"]

_LONGEST = 200
_MOST_LAYERS = 200


class Configuration:
    """What a run was set up with, for people to read in a report; nothing goes by it.

    The arguments are noted when it is made, at the beginning. The model is looked at when somebody
    asks, and once: by then layers that take their shapes from the data have them, and a run that
    saves nothing has nothing to do.

    Args:
        run: The run, which has begun.

    Example:
        >>> from callboard.callbacks import EarlyStopping
        >>> from callboard.testing import ScriptedRun
        >>> run = ScriptedRun([0.5], monitor="loss").play(EarlyStopping("loss", patience=3)).run
        >>> Configuration(run).as_dict()["EarlyStopping"]
        {'monitor': 'loss', 'patience': 3}
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._of_callbacks = {type(c).__name__: own for c in run.callbacks if (own := _own(c))}
        self._of_run: dict[str, Any] = {"epochs": run.epoch_count}
        if run.initial_epoch:
            self._of_run["initial epoch"] = run.initial_epoch
        if run.steps is not None:
            self._of_run["steps per epoch"] = run.steps
        self._rate: dict[str, Any] = {}
        with contextlib.suppress(UnsupportedError):  # no model, or no optimizer
            self._rate["learning rate"] = float(run.learning_rate)
        self._of_model: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it: model, optimizer, loss and metrics, the run's arguments, the callbacks'.

        Of a callback there is what differs from its defaults; "summary" is the table of the layers.
        """
        if self._of_model is None:
            self._of_model = _described(self._run)
        if "steps per epoch" not in self._of_run and self._run.steps is not None:
            self._of_run["steps per epoch"] = self._run.steps
        return {**self._of_model, **self._rate, **self._of_run, **self._of_callbacks}


def _described(run: Run) -> dict[str, Any]:
    inspection = inspection_of(run.trainable)
    try:
        found = inspection.description()
        lines = inspection.summary().splitlines() if found else []
    except Exception as error:  # noqa: BLE001 - a model that cannot be described is saved all the same
        return {"model": f"not described: {type(error).__name__}: {error}"[:_LONGEST]}
    if len(lines) > _MOST_LAYERS:
        left_out = f"... {len(lines) - _MOST_LAYERS:,} lines are left out ..."
        lines = [*lines[: _MOST_LAYERS - 10], left_out, *lines[-10:]]
    return {**found, "summary": "\n".join(lines)} if lines else found


def _own(callback: object) -> dict[str, Any]:
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
