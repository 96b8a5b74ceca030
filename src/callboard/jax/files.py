"""A model of JAX in a file: which suffix means which format, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from callboard._core.errors import FileFormatError, UnknownNameError
from callboard._core.frameworks import revived
from callboard.checkpoint import CheckpointStore
from callboard.checkpoint.hdf5 import read_hdf5, require_h5py, write_hdf5
from callboard.checkpoint.safetensors import read_safetensors, write_safetensors
from callboard.jax.arrays import to_array

__all__ = ["SUFFIXES", "Saved", "check_path", "read", "suffix_of", "write"]

SUFFIXES = (".weights.h5", ".safetensors", ".h5")
"""The longest come first, as one is the end of another."""

_WEIGHTS_ONLY = (".weights.h5", ".safetensors")
_TRAINING = ("optimizer", "rest")


class Saved(NamedTuple):
    """What a file holds.

    Attributes:
        weights: Weights by name.
        training: What else training goes on from, by parts and names; empty if it is not there.
    """

    weights: Mapping[str, Any]
    training: Mapping[str, Mapping[str, Any]]


def suffix_of(path: Path) -> str:
    """Return the suffix that says a file's format.

    Raises:
        UnknownNameError: If it is none of those a model is saved under.
    """
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix
    raise UnknownNameError("file suffix", path.suffix or path.name, SUFFIXES)


def check_path(path: Path) -> None:
    """Raise if a model cannot be saved under this name: unknown suffix, missing package."""
    if suffix_of(path).endswith(".h5"):
        require_h5py()


def write(path: Path, saved: Saved) -> None:
    """Write a file durably and whole, or leave the one there was.

    Raises:
        UnknownNameError: For an unknown suffix.
        OSError: If it cannot be written.
    """
    suffix = suffix_of(path)
    weights = _arrays_of(saved.weights)
    if suffix == ".safetensors":
        write_safetensors(path, weights)
        return
    training = {} if suffix in _WEIGHTS_ONLY else saved.training
    parts = {name: _arrays_of(part) for name, part in training.items()}
    write_hdf5(path, {"weights": weights, **parts})


def read(path: Path) -> Saved:
    """Read a file that ``write`` wrote, or a safetensors file of anyone.

    A folder is a checkpoint, or a store of them, whose best or else newest one is read.

    Raises:
        UnknownNameError: For an unknown suffix.
        FileFormatError: If the file is damaged or of another format.
        OSError: If it cannot be read.
    """
    if path.is_dir():
        tree = _read_checkpoint(path)
    elif suffix_of(path) == ".safetensors":
        tree = {"weights": read_safetensors(path)}
    else:
        tree = read_hdf5(path)
    weights = tree.get("weights") if isinstance(tree, Mapping) else None
    if not isinstance(weights, Mapping):
        raise FileFormatError(f"{str(path)!r} holds no weights by name")
    training = {name: tree[name] for name in _TRAINING if name in tree}
    if not all(isinstance(part, Mapping) for part in training.values()):
        raise FileFormatError(f"{str(path)!r} holds no state of a training on JAX")
    return Saved({**weights, **tree.get("frozen", {})}, training)


def _read_checkpoint(path: Path) -> Any:
    parts = ("weights", "frozen", *_TRAINING)
    if (path / "manifest.json").exists():
        return CheckpointStore(path.parent).load(path.name, revived=revived, only=parts)
    store = CheckpointStore(path)
    return store.load(store.pointed_to("best"), revived=revived, only=parts)


def _arrays_of(values: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: to_array(value) for name, value in values.items()}
