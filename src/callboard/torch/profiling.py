"""Where the time of some batches goes, by torch's profiler."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from callboard._core import fs

__all__ = ["ChromeTrace", "profiler"]


class ChromeTrace:
    """Measures with ``torch.profiler`` and writes a trace in Chrome's format.

    PyTorch's plugin for TensorBoard is no longer kept up; its documentation recommends Perfetto.
    """

    def __init__(self) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._profile: Any = profile(activities=activities, record_shapes=True)

    def start(self) -> None:
        """Begin."""
        self._profile.start()

    def stop(self, folder: Path, name: str) -> str:
        """End, write the trace, and say where it is and how it is opened."""
        self._profile.stop()
        path = folder / f"{name}.pt.trace.json"
        with tempfile.TemporaryDirectory() as temporary:
            written = Path(temporary, "trace.json")
            self._profile.export_chrome_trace(str(written))
            with fs.replacing(path) as file, written.open("rb") as trace:
                shutil.copyfileobj(trace, file)
        return f"{path}; open it at https://ui.perfetto.dev or in chrome://tracing"


def profiler() -> ChromeTrace:
    """Return ``torch.profiler``, which writes a trace for Perfetto and Chrome."""
    return ChromeTrace()
