"""The embeddings of a model for TensorBoard's projector."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from callboard._core.errors import ConfigurationError, UnknownNameError
from callboard._core.inspection import inspection_of
from callboard.events.projector import metadata_rows, write_embedding

if TYPE_CHECKING:
    from callboard._core.run import Run

__all__ = ["EmbeddingFiles"]


class EmbeddingFiles:
    """Writes the vectors of a model's embeddings, each with what its rows stand for.

    Args:
        log_dir: Folder in which files of metadata are looked for, after the working directory.
        metadata: The path of a TSV file, or labels or rows, for all embeddings; or a dict of them
            by the layers' names. None for none.
    """

    def __init__(self, log_dir: Path, metadata: object) -> None:
        self._log_dir = log_dir
        self._given = dict(metadata) if isinstance(metadata, Mapping) else metadata
        self._rows: dict[str, Sequence[Any] | None] = {}

    def check(self, run: Run) -> None:
        """Read the metadata, and check that it fits the layers.

        Raises:
            ConfigurationError: If the model has no embeddings, or none of a name.
            FileNotFoundError: If a file of metadata is not there.
            DataError: If it has another number of rows than the embedding.
        """
        vectors = inspection_of(run.trainable).embeddings()
        if not vectors:
            raise ConfigurationError(
                "embeddings_freq is given, and the model has no embedding layers that are known; "
                "EventWriter.add_embedding writes vectors of your own"
            )
        given = (
            self._given if isinstance(self._given, dict) else dict.fromkeys(vectors, self._given)
        )
        for name in given:
            if name not in vectors:
                raise UnknownNameError("embedding layer in embeddings_metadata", name, vectors)
        self._rows = {name: self._read(given.get(name)) for name in vectors}
        for name, rows in self._rows.items():
            if rows is not None:
                _check_length(name, rows, len(vectors[name]))

    def write(self, run: Run, folder: Path) -> None:
        """Write all embeddings as they are now, in place of those before."""
        for name, vectors in inspection_of(run.trainable).embeddings().items():
            write_embedding(folder, name, vectors, self._rows.get(name))

    def _read(self, metadata: Any) -> Sequence[Any] | None:
        if metadata is None:
            return None
        if not isinstance(metadata, str | os.PathLike):
            return metadata_rows(metadata)
        path = Path(metadata)
        found = path if path.exists() else self._log_dir / path
        if not found.exists():
            raise FileNotFoundError(
                2,
                "embeddings_metadata names a file that is neither there nor in log_dir; write it "
                "before training, a line for each row of the embedding",
                str(path),
            )
        return metadata_rows(found)


def _check_length(name: str, rows: Sequence[Any], points: int) -> None:
    """Raise unless there is one row for each vector, after a row of names where rows have several.

    Raises:
        ConfigurationError: If there are more or fewer.
    """
    named = 1 if rows and len(rows[0]) > 1 else 0
    if len(rows) != points + named:
        head = " after a row with the columns' names" if named else ""
        raise ConfigurationError(
            f"embeddings_metadata of {name!r} has {len(rows) - named} rows{head}, and the layer "
            f"{points} vectors; give one row for each"
        )
