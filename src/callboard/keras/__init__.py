"""Keras 3, on TensorFlow, JAX and PyTorch: our callbacks in Keras's own ``fit``.

Callbacks of ours can stand in the list given to ``keras.Model.fit``; :class:`Callbacks` makes one
of many, with what a run gives; :func:`fit` is Keras's ``fit`` that can be gone on with anywhere.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from callboard.keras.direct import join_host as join_host
from callboard.keras.fit import fit as fit
from callboard.keras.foreign import check_foreign as check_foreign
from callboard.keras.group import Callbacks as Callbacks
from callboard.keras.profiling import profiler as profiler
from callboard.keras.trainable import KerasTrainable

__all__ = ["Callbacks", "fit", "trainable"]


def trainable(model: object, optimizer: object = None) -> KerasTrainable | None:
    """Return what callbacks may do to a Keras model; None for other objects.

    Called by ``Run(model=...)``, for a loop of the user's own.
    """
    return KerasTrainable(model, optimizer) if isinstance(model, keras.Model) else None


def source_of(value: object) -> None:
    """Return nothing: arrays are the backend's, and a model's state is read to the host."""


def revived(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array: Keras has no arrays of its own."""
    return array


def stream_of(data: object) -> None:
    """Return nothing: Keras's loaders are gone on with by :func:`fit`."""


def random_states() -> dict[str, Any]:
    """Return nothing: Keras's random numbers come from variables of the model."""
    return {}


def restore_random_states(states: Any) -> None:
    """Put nothing back, as there was nothing."""


def environment() -> dict[str, Any]:
    """Return what has to be equal for a resumed run to be equal bit for bit."""
    return {"version": keras.__version__, "backend": keras.backend.backend()}


def state_trainable(state: object) -> None:
    """Return nothing: models of Keras hold their own state."""
