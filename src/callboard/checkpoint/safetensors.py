"""Arrays in safetensors files.

Written by us, so that the bytes go to a file that we sync, without a second copy in memory; read by
the safetensors package, which checks sizes and offsets.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from callboard._core import fs
from callboard._core.errors import FileFormatError
from callboard.checkpoint.dtypes import code_of, dtype_of

__all__ = ["Place", "layout", "read_safetensors", "write_safetensors"]

_ALIGNMENT = 64


class Place(NamedTuple):
    """Where in a file an array is.

    Attributes:
        code: Its type, as safetensors files name it.
        shape: Its shape.
        begin: Its first byte, counted from the beginning of the file.
        end: The byte after its last.
    """

    code: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type its elements have in NumPy."""
        return dtype_of(self.code)


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
    head, places = layout(
        {name: (code_of(array.dtype), array.shape) for name, array in arrays.items()}, metadata
    )
    with fs.replacing(path) as file:
        file.write(head)
        for name in places:
            file.write(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)


def layout(
    arrays: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, dict[str, Place]]:
    """Lay out a safetensors file.

    Args:
        arrays: Type (as in such files) and shape of each array.
        metadata: Texts to put into the header.

    Returns:
        The file's first bytes, and the place of each array, in the order of the file.

    Raises:
        TypeError: For a name that such files cannot have.
    """
    if "__metadata__" in arrays:
        raise TypeError("a safetensors file cannot hold an array called '__metadata__'")
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    # Wide types first, so that every array starts at a multiple of its element's size.
    ordered = sorted(arrays, key=lambda name: (-dtype_of(arrays[name][0]).itemsize, name))
    for name in ordered:
        code, shape = arrays[name]
        end = offset + math.prod(shape) * dtype_of(code).itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    places = {}
    for name in ordered:
        begin, end = header[name]["data_offsets"]
        places[name] = Place(*arrays[name], len(head) + begin, len(head) + end)
    return head, places


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
