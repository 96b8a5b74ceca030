"""What a run was set up with, as names and plain values."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from callboard._core.errors import UnsupportedError
from callboard._core.inspection import inspection_of

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["flattened", "settings_of"]

_SECRET = ("key", "token", "password", "passwd", "secret", "credential")


def settings_of(run: Run) -> dict[str, Any]:
    """Return epochs, steps, model, optimizer, loss, metrics and the settings of the callbacks.

    A callback's settings are the arguments it was made with, as far as they are plain values:
    ``EarlyStopping.patience``. Callbacks that only write have none that matter to the
    result and are left out, as is whatever has the name of a secret.

    Args:
        run: The run, which has begun.

    Example:
        >>> from callboard import Run
        >>> from callboard.callbacks import EarlyStopping
        >>> settings = settings_of(Run(epochs=5, callbacks=[EarlyStopping("loss")], verbose=0))
        >>> settings["epochs"], settings["EarlyStopping.monitor"]
        (5, 'loss')
    """
    settings: dict[str, Any] = {"epochs": run.epoch_count, "initial_epoch": run.initial_epoch}
    if run.steps is not None:
        settings["steps_per_epoch"] = run.steps
    settings |= _of_training(run)
    for callback in run.callbacks:
        if not getattr(callback, "writes_only", False):
            settings |= _of_callback(callback)
    return settings


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, names joined by dots, and values that are not plain as text.

    Example:
        >>> flattened({"data": {"size": 28, "split": (0.9, 0.1)}})
        {'data.size': 28, 'data.split': '(0.9, 0.1)'}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{full}.")
        else:
            flat[full] = value if _is_plain(value) else str(value)
    return flat


def _of_training(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with contextlib.suppress(UnsupportedError):
        found["learning_rate"] = run.learning_rate
    for name, value in flattened(inspection_of(run.trainable).description()).items():
        found["model_parameters" if name == "parameters" else name] = value
    return found


def _of_callback(callback: object) -> dict[str, Any]:
    settings = getattr(callback, "settings", None)  # Keras's own callbacks have none
    return {
        f"{type(callback).__name__}.{name}": value
        for name, value in (settings() if callable(settings) else {}).items()
        if not any(word in name.lower() for word in _SECRET)
    }


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
