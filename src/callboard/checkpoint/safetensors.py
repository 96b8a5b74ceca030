"""Arrays in safetensors files.

Written by us, so that the bytes go to a file that we sync, without a second copy in memory; read by
the safetensors package, which checks sizes and offsets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from callboard._core import fs
from callboard._core.errors import FileFormatError
from callboard.checkpoint.dtypes import code_of, dtype_of

__all__ = ["read_safetensors", "write_safetensors"]

_ALIGNMENT = 64


def write_safetensors(
    path: Path,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write arrays by name, durably and whole, or leave the file there was.

    Args:
        path: The file.
        arrays: Arrays of any shape; a dtype that NumPy lacks is held as :mod:`dtypes` says.
        metadata: Texts to put into the header.

    Raises:
        TypeError: For a dtype or a name that such files cannot have.
        OSError: If the file cannot be written.

    Source: https://github.com/huggingface/safetensors, "Format".
    """
    if "__metadata__" in arrays:
        raise TypeError("a safetensors file cannot hold an array called '__metadata__'")
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    # Wide types first, so that every array starts at a multiple of its element's size.
    ordered = sorted(arrays.items(), key=lambda named: (-named[1].dtype.itemsize, named[0]))
    for name, array in ordered:
        end = offset + array.nbytes
        header[name] = {
            "dtype": code_of(array.dtype),
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    with fs.replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, array in ordered:
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def read_safetensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read all arrays of a safetensors file.

    Raises:
        FileFormatError: If it is no such file, or damaged.
        OSError: If it cannot be read.
    """
    import safetensors  # noqa: PLC0415 - loaded by those who read

    try:
        entries = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call] # Rust
        return {
            name: np.frombuffer(entry["data"], dtype_of(entry["dtype"])).reshape(entry["shape"])
            for name, entry in entries
        }
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise FileFormatError(f"{str(path)!r} is not a whole safetensors file: {error}") from error
