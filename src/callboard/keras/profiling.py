"""Where the time of some batches goes, by the profiler of Keras's backend."""

from __future__ import annotations

import importlib

import keras

from callboard._core import frameworks
from callboard._core.inspection import Profiler
from callboard._core.xplane import XPlaneTrace

__all__ = ["profiler"]


def profiler() -> Profiler | None:
    """Return the profiler of the backend; None if it has none."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        experimental = importlib.import_module("tensorflow").profiler.experimental
        return XPlaneTrace(experimental.start, experimental.stop)
    return frameworks.profiler_of(backend)
