"""Nested state in HDF5 files, as the tutorial's ``models/best_model.h5``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from callboard._core import fs
from callboard._core.errors import FileFormatError, UnsupportedError
from callboard.checkpoint.tree import join, split

__all__ = ["read_hdf5", "require_h5py", "write_hdf5"]

_FORMAT = "callboard 1"


def require_h5py() -> ModuleType:
    """Return the h5py module, or raise UnsupportedError that says how to install it."""
    try:
        import h5py  # noqa: PLC0415 - an extra
    except ImportError:
        raise UnsupportedError(
            "a .h5 file needs the h5py package: pip install 'callboard[hdf5]'; "
            "or save to .safetensors or .pt"
        ) from None
    module: ModuleType = h5py
    return module


def write_hdf5(path: Path, tree: Mapping[str, Any]) -> None:
    """Write nested state durably and whole, or leave the file there was.

    Every array is a dataset with a checksum, named after its place in ``tree``; numbers and texts
    are JSON in an attribute.

    Raises:
        OSError: If the file cannot be written.
    """
    h5py = require_h5py()
    text, arrays = split(tree)
    with fs.replacing(path) as file, h5py.File(file.name, "w") as h5:
        # By name, as HDF5 seeks and rewrites; ``replacing`` syncs the same file afterwards.
        h5.attrs["format"] = _FORMAT
        h5.create_dataset("tree", data=np.frombuffer(text.encode(), np.uint8))
        for name, array in arrays.items():
            checked = {"fletcher32": True} if array.ndim and array.size else {}
            h5.create_dataset(f"arrays/{name}", data=array, **checked)


def read_hdf5(path: Path) -> Any:
    """Read what ``write_hdf5`` wrote.

    Raises:
        FileFormatError: If it is another HDF5 file, none at all, or damaged.
        OSError: If it cannot be read.
    """
    h5py = require_h5py()
    path.stat()
    try:
        with h5py.File(path, "r") as h5:
            if h5.attrs.get("format") != _FORMAT:
                raise FileFormatError(
                    f"{str(path)!r} is an HDF5 file of another program; "
                    "only files that callboard saved can be loaded"
                )
            arrays: dict[str, np.ndarray[Any, Any]] = {}

            def collect(name: str, item: object) -> None:
                if isinstance(item, h5py.Dataset):
                    if item.is_virtual or item.external:  # would read other files of this machine
                        raise FileFormatError(f"{str(path)!r} takes {name!r} from other files")
                    arrays[name] = item[()]

            if "arrays" in h5:
                h5["arrays"].visititems(collect)
            return join(h5["tree"][()].tobytes().decode(), arrays)
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{str(path)!r} is not a whole HDF5 file: {error}") from error
