"""Saving and loading what a ``Model`` trains, as Keras names it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from callboard._core.errors import DataError

__all__ = ["ModelFiles"]


class ModelFiles:
    """A model's weights, in and out of files and arrays.

    Attributes:
        trainable: What callbacks may do to the model; it knows the formats of files.
    """

    trainable: Any

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,  # noqa: FBT001, FBT002 - Keras's signature
    ) -> None:
        """Save weights and the optimizer's state, durably and whole.

        Args:
            filepath: Path ending in ``.h5``, for a torch module also ``.pt``; ``.weights.h5`` and
                ``.safetensors`` have weights only. Parent folders are made.
            overwrite: Replace a file that is there; if False, that is an error.

        Raises:
            UnknownNameError: For another suffix.
            FileExistsError: If there is a file that must not be replaced.
            OSError: If the file cannot be written; the one before it is still whole.
        """
        self._save(filepath, overwrite=overwrite, weights_only=False)

    def save_weights(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,  # noqa: FBT001, FBT002 - Keras's signature
    ) -> None:
        """Save the weights, durably and whole; arguments and errors as ``save``."""
        self._save(filepath, overwrite=overwrite, weights_only=True)

    def load(self, filepath: str | os.PathLike[str]) -> None:
        """Load weights, and the optimizer's state if the file has it and the model is compiled.

        Args:
            filepath: A file that ``save`` wrote, or a folder of checkpoints.

        Raises:
            FileFormatError: If the file is damaged or of another format.
            DataError: If it is of another model; then nothing is changed.
            OSError: If it cannot be read.
        """
        self.trainable.load(Path(filepath), weights_only=False)

    def load_weights(self, filepath: str | os.PathLike[str]) -> None:
        """Load weights, whatever else is in the file; arguments and errors as ``load``."""
        self.trainable.load(Path(filepath), weights_only=True)

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Return copies of all weights (and buffers, of a torch module, as in ``state_dict()``)."""
        return list(self.trainable.weights().values())

    def set_weights(self, weights: Sequence[np.ndarray[Any, Any]]) -> None:
        """Write weights back, in the order of ``get_weights()``.

        Args:
            weights: An array for each.

        Raises:
            DataError: If their number or shapes differ; then nothing is changed.
        """
        names = list(self.trainable.weights())
        if len(names) != len(weights):
            raise DataError(f"the model has {len(names)} weights and buffers; got {len(weights)}")
        self.trainable.set_weights(dict(zip(names, weights, strict=True)))

    def _save(
        self, filepath: str | os.PathLike[str], *, overwrite: bool, weights_only: bool
    ) -> None:
        path = Path(filepath)
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{str(path)!r} is there already; pass overwrite=True to replace it"
            )
        self.trainable.save(path, weights_only=weights_only)
