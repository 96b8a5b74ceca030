"""Nested state in HDF5 files, as the tutorial's ``models/best_model.h5``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from callboard._core import fs
from callboard._core.errors import FileFormatError, UnsupportedError
from callboard.checkpoint.tree import join, split

__all__ = ["read_hdf5", "require_h5py", "write_hdf5"]

_BLOCK = 512  # bytes; the smallest that HDF5 allows
_MAGIC = b"callboard 1 sha256 "

# What h5py raises for a file that was not made by us, digest or not.
_MALFORMED = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
)


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

    Every array is a dataset, named after its place in ``tree``; numbers and texts are JSON in the
    dataset "tree". The file begins with a user block that has the digest of all that follows.

    Raises:
        OSError: If the file cannot be written.
    """
    h5py = require_h5py()
    text, arrays = split(tree)
    with fs.replacing(path) as file:
        # By name, as HDF5 seeks and rewrites; ``replacing`` syncs the same file afterwards.
        with h5py.File(file.name, "w", userblock_size=_BLOCK) as h5:
            h5.create_dataset("tree", data=np.frombuffer(text.encode(), np.uint8))
            for name, array in arrays.items():
                h5.create_dataset(f"arrays/{name}", data=array)
        file.seek(_BLOCK)
        head = _head(file)
        file.seek(0)
        file.write(head)


def read_hdf5(path: Path) -> Any:
    """Read what ``write_hdf5`` wrote. HDF5 sees the file only if its digest is right.

    Raises:
        FileFormatError: If it is another HDF5 file, none at all, or damaged.
        OSError: If it cannot be read.
    """
    h5py = require_h5py()
    with path.open("rb") as file:
        head = file.read(_BLOCK)
        if not head.startswith(_MAGIC):
            raise FileFormatError(
                f"{str(path)!r} is no HDF5 file that callboard saved; only those can be loaded"
            )
        if head != _head(file):
            raise FileFormatError(f"{str(path)!r} is damaged: its content has another digest")
    try:
        with h5py.File(path, "r") as h5:
            datasets = _own_datasets(h5, path)
            text = datasets.pop("tree")[()].tobytes().decode()
            arrays = {name.removeprefix("arrays/"): item[()] for name, item in datasets.items()}
            return join(text, arrays, what=repr(str(path)))
    except FileFormatError:
        raise
    except _MALFORMED as error:
        raise FileFormatError(f"{str(path)!r} is not a whole HDF5 file: {error}") from error


def _head(file: BinaryIO) -> bytes:
    """Return the user block for the content of a file from here on."""
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return _MAGIC + digest.hexdigest().encode().ljust(_BLOCK - len(_MAGIC), b"\n")


def _own_datasets(h5: Any, path: Path) -> dict[str, Any]:
    """Return all datasets by name, those that would read other files of this machine refused.

    Links are looked at before they are followed, and groups entered by name.
    """
    h5py = require_h5py()
    found: dict[str, Any] = {}
    groups = [("", h5)]
    while groups:
        prefix, group = groups.pop()
        for key in group:
            name = f"{prefix}{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise FileFormatError(f"{str(path)!r} has a link at {name!r}")
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append((f"{name}/", item))
            elif item.is_virtual or item.external:
                raise FileFormatError(f"{str(path)!r} takes {name!r} from other files")
            else:
                found[name] = item
    return found
