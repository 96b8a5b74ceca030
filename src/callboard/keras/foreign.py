"""Callbacks of Keras itself in a run of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from callboard._core.errors import UnsupportedError
from callboard._core.monitor import direction

__all__ = ["check_foreign"]

_NEED_KERAS = tuple(
    getattr(keras.callbacks, name)
    for name in ("BackupAndRestore", "OrbaxCheckpoint", "SwapEMAWeights", "TensorBoard")
    if hasattr(keras.callbacks, name)  # older versions lack some
)


def check_foreign(callback: object, model: object, metrics: Mapping[str, Any] | None) -> None:
    """Check, before the first batch, that a callback of Keras can work with a model.

    One that watches a metric with ``mode="auto"`` gets the mode: Keras looks for it among the
    metrics of a Keras model, and after the first epoch.

    Raises:
        UnsupportedError: If it needs a Keras model and this is none.
        ConfigurationError: If it cannot be known whether a lower or a higher value is better.
    """
    if not isinstance(callback, keras.callbacks.Callback) or isinstance(model, keras.Model):
        return
    name = type(callback).__name__
    if isinstance(callback, _NEED_KERAS) or _saves_keras_files(callback):
        raise UnsupportedError(
            f"keras.callbacks.{name} needs a Keras model, and this is a {type(model).__name__}; "
            f"use callboard.callbacks.{name}, which has the same arguments"
        )
    monitor = getattr(callback, "monitor", None)
    if getattr(callback, "mode", "") == "auto" and isinstance(monitor, str):
        if isinstance(callback, keras.callbacks.ModelCheckpoint) and not callback.save_best_only:
            return
        callback.mode = direction(monitor, metrics)


def _saves_keras_files(callback: object) -> bool:
    """Say whether it saves an architecture, which only a Keras model has."""
    return isinstance(callback, keras.callbacks.ModelCheckpoint) and str(
        callback.filepath
    ).endswith(".keras")
