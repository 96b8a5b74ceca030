"""The event files of a run, one writer for each of its folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from callboard._core import fs
from callboard.events import EventWriter

__all__ = ["EventFiles"]


class EventFiles:
    """Opens writers when they are needed, and knows which files are the run's.

    Args:
        folder: The folder that has the parts.
        start_of: Returns the first step that a part's new file will have.
    """

    def __init__(self, folder: Path, start_of: Callable[[str], int]) -> None:
        self._folder = folder
        self._start_of = start_of
        self._writers: dict[str, EventWriter] = {}
        self._written: dict[str, dict[str, int]] = {}
        self.name = ""  # tells the files of this run from those of others in the folder
        self.reset()

    def reset(self) -> None:
        """Begin a run of its own."""
        self.name = os.urandom(4).hex()
        self._written = {}

    def writer(self, part: str) -> EventWriter:
        """Return the writer of a part, such as "train"; "" is the folder itself."""
        if part not in self._writers:
            self._writers[part] = EventWriter(
                self._folder / part, start_step=self._start_of(part), suffix=f".{self.name}"
            )
        return self._writers[part]

    def flush(self) -> None:
        """Hand all records to the operating system."""
        for writer in self._writers.values():
            writer.flush()

    def settle(self) -> None:
        """Make what is written durable, and note how much of each file that is."""
        for part, writer in self._writers.items():
            writer.sync()
            if writer.path is not None:
                self._written.setdefault(part, {})[writer.path.name] = writer.offset

    def state_dict(self) -> dict[str, Any]:
        """Return the files that belong to the run and how much of each is written."""
        written = {part: dict(files) for part, files in self._written.items()}
        return {"name": self.name, "written": written}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in new files."""
        self.name = state["name"]
        self._written = {part: dict(files) for part, files in state["written"].items()}

    def cut_back(self, parts: tuple[str, ...]) -> None:
        """Leave of the run's files in some parts what had been written by the loaded state.

        TensorBoard drops what a later file replaces by its steps, and epochs and training steps
        are counted differently in one folder; so what is to be replaced is removed. Nothing is ever
        written behind a cut, so a server that reads the file just finds its end.
        """
        for part in parts:
            sizes = self._written.get(part, {})
            for path in (self._folder / part).glob(f"events.out.tfevents.*.{self.name}"):
                size = sizes.get(path.name)
                if size is None:
                    fs.remove(path)
                elif path.stat().st_size > size:
                    fs.cut_back(path, size)

    def close(self, *, failed: bool) -> None:
        """Sync and close all files, whatever happens to one of them."""
        writers, self._writers = self._writers, {}
        with contextlib.ExitStack() as closing:
            for writer in writers.values():
                closing.callback(_finish, writer, failed=failed)


def _finish(writer: EventWriter, *, failed: bool) -> None:
    try:
        writer.sync()
    finally:
        writer.close(failed=failed)
