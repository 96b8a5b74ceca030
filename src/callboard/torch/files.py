"""A model in a file: which suffix means which format, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from callboard._core import fs
from callboard._core.errors import FileFormatError, UnknownNameError
from callboard._core.frameworks import revived
from callboard.checkpoint import CheckpointStore
from callboard.checkpoint.hdf5 import read_hdf5, require_h5py, write_hdf5
from callboard.checkpoint.safetensors import read_safetensors, write_safetensors
from callboard.torch.arrays import to_array, to_tensor

__all__ = ["SUFFIXES", "Saved", "check_path", "read", "suffix_of", "write"]

SUFFIXES = (".weights.h5", ".safetensors", ".h5", ".pt", ".pth")
"""The longest come first, as one is the end of another."""

_WEIGHTS_ONLY = (".weights.h5", ".safetensors")


class Saved(NamedTuple):
    """What a file holds.

    Attributes:
        weights: Weights and buffers by name.
        optimizer: What ``torch.optim.Optimizer.state_dict`` returns, or None.
    """

    weights: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, Any] | None


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
    optimizer = None if suffix in _WEIGHTS_ONLY else saved.optimizer
    try:
        _write(path, suffix, saved.weights, optimizer)
    except RuntimeError as error:
        # PyTorch and HDF5 close a file once more after a write has failed, and fail at that too.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _write(
    path: Path,
    suffix: str,
    tensors: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, Any] | None,
) -> None:
    if suffix in (".pt", ".pth"):
        weights = dict(tensors)
        with fs.replacing(path) as file:
            tree = {"weights": weights, "optimizer": dict(optimizer or {})}
            torch.save(tree if optimizer else weights, file)
        return
    arrays = {name: to_array(tensor) for name, tensor in tensors.items()}
    if suffix == ".safetensors":
        write_safetensors(path, arrays, {"format": "pt"})
    elif optimizer is None:
        write_hdf5(path, {"weights": arrays})
    else:
        write_hdf5(path, {"weights": arrays, "optimizer": _arrays_of(optimizer)})


def read(path: Path) -> Saved:
    """Read a file that ``write`` wrote, or a plain state dict or safetensors file of anyone.

    A folder is a checkpoint, or a store of them, whose best or else newest one is read.

    Raises:
        UnknownNameError: For an unknown suffix.
        FileFormatError: If the file is damaged or of another format.
        OSError: If it cannot be read.
    """
    if path.is_dir():
        return _read_checkpoint(path)
    suffix = suffix_of(path)
    if suffix == ".safetensors":
        return Saved({name: to_tensor(a) for name, a in read_safetensors(path).items()}, None)
    tree = _read_pt(path) if suffix in (".pt", ".pth") else _tensors_of(read_hdf5(path))
    if not isinstance(tree, Mapping):
        raise FileFormatError(f"{str(path)!r} holds a {type(tree).__name__}, not a model")
    optimizer = None
    if "weights" in tree and tree.keys() <= {"weights", "optimizer"}:
        try:
            optimizer = _optimizer_state(tree.get("optimizer"))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise FileFormatError(f"{str(path)!r} has no optimizer's state: {error!r}") from error
        tree = tree["weights"]
    return Saved(_weights(tree, path), optimizer)


def _read_checkpoint(path: Path) -> Saved:
    parts = ("weights", "frozen", "optimizer")
    if (path / "manifest.json").exists():
        tree = CheckpointStore(path.parent).load(path.name, revived=revived, only=parts)
    else:
        store = CheckpointStore(path)
        tree = store.load(store.pointed_to("best"), revived=revived, only=parts)
    weights = {**tree.get("weights", {}), **tree.get("frozen", {})}
    optimizer = tree.get("optimizer")
    if optimizer is not None:
        optimizer = {name: optimizer[name] for name in ("state", "param_groups")}
    return Saved(weights, optimizer)


def _weights(tree: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dict; a module may have put other values beside them."""
    if isinstance(tree, Mapping):
        weights = {str(k): v for k, v in tree.items() if isinstance(v, torch.Tensor)}
        if weights or not tree:
            return weights
    held = sorted(map(str, tree)) if isinstance(tree, Mapping) else f"a {type(tree).__name__}"
    raise FileFormatError(
        f"{str(path)!r} holds no weights by name, but {held}; load it with torch.load and pass "
        "what belongs to the module to its load_state_dict"
    )


def _read_pt(path: Path) -> Any:
    with path.open("rb") as file:
        try:
            # weights_only: a file can hold tensors and plain values, and cannot run anything.
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can lead the unpickler to any of them
            raise FileFormatError(f"{str(path)!r} is not a whole PyTorch file: {error}") from error


def _arrays_of(tree: Any) -> Any:
    """Return nested state with arrays for tensors."""
    if isinstance(tree, torch.Tensor):
        return to_array(tree)
    if isinstance(tree, Mapping):
        return {key: _arrays_of(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_arrays_of(value) for value in tree]
    return tree


def _optimizer_state(tree: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return an optimizer's state with the types that JSON does not keep: int keys and tuples."""
    if tree is None:
        return None
    groups = [
        {
            key: tuple(value) if isinstance(value, list) and key != "params" else value
            for key, value in group.items()
        }
        for group in tree["param_groups"]
    ]
    state = {int(index): values for index, values in tree["state"].items()}
    return {"state": state, "param_groups": groups}


def _tensors_of(tree: Any) -> Any:
    """Return nested state with tensors for arrays."""
    if isinstance(tree, Mapping):
        return {key: _tensors_of(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_tensors_of(value) for value in tree]
    return to_tensor(tree) if hasattr(tree, "dtype") else tree
