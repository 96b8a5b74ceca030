"""Profiles in the format of XLA's profiler, which TensorBoard's Profile page reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from callboard._core import fs
from callboard._core.errors import RunStateError

__all__ = ["XPlaneTrace"]


class XPlaneTrace:
    """Measures with a framework's profiler that writes into a folder.

    Args:
        begin: Begins, given a folder.
        end: Ends, and writes into that folder.
        finish: Waits until what was given to the devices before is done.

    Source: the folders that TensorFlow's and JAX's profilers make, ``plugins/profile/<run>``.
    """

    def __init__(
        self,
        begin: Callable[[str], object],
        end: Callable[[], object],
        finish: Callable[[], object] = lambda: None,
    ) -> None:
        self._begin = begin
        self._end = end
        self._finish = finish
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self) -> None:
        """Begin; whatever the profiler raises, as when it is running already, is raised."""
        folder = tempfile.TemporaryDirectory()
        try:
            self._finish()
            self._begin(folder.name)
        except BaseException:
            folder.cleanup()
            raise
        self._folder = folder

    def stop(self, folder: Path, name: str) -> str:
        """End, and write what was measured where TensorBoard looks for it."""
        if self._folder is None:
            raise RunStateError("the profiler has not begun")
        target = folder / "plugins" / "profile" / name
        with self._folder as temporary:
            self._finish()
            self._end()
            for path in sorted(Path(temporary).glob("plugins/profile/*/*")):
                with fs.replacing(target / path.name) as file, path.open("rb") as measured:
                    shutil.copyfileobj(measured, file)
        self._folder = None
        return f"{target}; open it in TensorBoard, on the page Profile (pip install xprof)"
