"""The files of TensorBoard's projector: points as TSV, what they are, and where both are.

Source: ``projector_config.proto`` of TensorBoard's ``plugins/projector``. Its server takes a file
of bytes that happens to be valid text for a table, and no path outside of the configuration's
folder; so points are written as text, and files from elsewhere are copied.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from callboard._core import fs
from callboard._core.errors import DataError
from callboard.events.pictures import image_png
from callboard.events.protobuf import described

__all__ = ["CONFIG", "Metadata", "metadata_rows", "write_embedding"]

CONFIG = "projector_config.pbtxt"
_ENTRY = re.compile(r'^embeddings \{\n  tensor_name: (".*")\n(?:  .*\n)*\}\n', re.MULTILINE)
_SPRITE_SIDE = 8192  # pixels; a browser's limit for the picture with all images

Metadata = Path | Sequence[Any] | None
"""A TSV file; or a label or a row of columns for each point, the columns' names first."""


def write_embedding(
    folder: Path, name: str, vectors: npt.ArrayLike, metadata: Metadata, images: object = None
) -> None:
    """Write points and put them into the configuration, one entry for each name.

    Args:
        folder: The run's folder.
        name: What the projector calls them.
        vectors: Numbers, shape (points, dimensions).
        metadata: What the points are.
        images: A small image for each point: pixels, shape (points, height, width, channels).

    Raises:
        DataError: If the shapes do not fit.
    """
    points = np.asarray(vectors)
    if points.ndim != 2 or points.dtype.kind not in "biuf" or not points.size:
        raise DataError(
            f"an embedding has numbers of shape (points, dimensions); got {described(points)}"
        )
    rows = None if metadata is None else metadata_rows(metadata)
    if rows is not None:
        _check_rows(rows, len(points), name)
    stem = _file_name(name)
    lines = [f"tensor_name: {_quoted(name)}", f"tensor_path: {_quoted(stem + '.tsv')}"]
    lines += [f"tensor_shape: {size}" for size in points.shape]
    if rows is not None:
        _write(folder / f"{stem}.labels.tsv", ("\t".join(row) + "\n" for row in rows))
        lines.append(f"metadata_path: {_quoted(stem + '.labels.tsv')}")
    if images is not None:
        width, height = _write_sprite(folder / f"{stem}.png", images, len(points))
        dimensions = f"single_image_dim: {width} single_image_dim: {height}"
        lines.append(f"sprite {{ image_path: {_quoted(stem + '.png')} {dimensions} }}")
    _write(folder / f"{stem}.tsv", _table(points))
    _configure(folder / CONFIG, name, lines)


def metadata_rows(metadata: Path | Sequence[Any]) -> list[list[str]]:
    """Return what points are as rows of a table; the first of several columns' rows are names.

    Raises:
        DataError: If rows have different lengths.
    """
    if isinstance(metadata, Path):
        lines = metadata.read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines if line]
    else:
        rows = [
            [_cell(cell) for cell in row] if isinstance(row, list | tuple) else [_cell(row)]
            for row in metadata
        ]
    if len({len(row) for row in rows}) > 1:
        raise DataError("the rows of an embedding's metadata have different numbers of columns")
    return rows


def _check_rows(rows: list[list[str]], points: int, name: str) -> None:
    columns = len(rows[0]) if rows else 1
    named = 1 if columns > 1 else 0  # one column has no head
    if len(rows) != points + named:
        head = ", after a row with the columns' names" if named else ""
        raise DataError(
            f"the embedding {name!r} has {points} points, and its metadata {len(rows) - named} "
            f"rows; give one row for each point{head}"
        )


def _table(points: npt.NDArray[Any]) -> Iterator[str]:
    # Nine digits are a float32 exactly.
    line = "\t".join(["%.9g"] * points.shape[1]) + "\n"
    for start in range(0, len(points), 1024):
        yield "".join([line % tuple(row) for row in points[start : start + 1024].tolist()])


def _write(path: Path, parts: Iterator[str]) -> None:
    with fs.replacing(path) as file:
        for part in parts:
            file.write(part.encode())


def _write_sprite(path: Path, images: object, points: int) -> tuple[int, int]:
    """Write all images as one, in rows as long as they are many; return the size of each."""
    pixels = np.asarray(images)
    if pixels.ndim not in (3, 4) or len(pixels) != points:
        raise DataError(
            f"images of an embedding have shape ({points}, height, width, channels); "
            f"got {described(pixels)}"
        )
    height, width = pixels.shape[1:3]
    side = int(np.ceil(np.sqrt(points)))
    if side * max(height, width) > _SPRITE_SIDE:
        raise DataError(
            f"{points} images of {width} x {height} pixels make a picture of more than "
            f"{_SPRITE_SIDE} pixels a side, which browsers refuse; make them smaller"
        )
    missing = ((0, side * side - points), *((0, 0),) * (pixels.ndim - 1))
    cells = np.pad(pixels, missing).reshape(side, side, *pixels.shape[1:])
    plane = cells.swapaxes(1, 2).reshape(side * height, side * width, *pixels.shape[3:])
    with fs.replacing(path) as file:
        file.write(image_png(plane, "HWC"[: plane.ndim]).content)
    return width, height


def _configure(path: Path, name: str, lines: list[str]) -> None:
    """Put an entry in the place of that of the same name, or behind the others."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    kept = "".join(m[0] for m in _ENTRY.finditer(text) if m[1] != _quoted(name))
    body = "".join(f"  {line}\n" for line in lines)
    _write(path, iter([f"{kept}embeddings {{\n{body}}}\n"]))


def _cell(value: object) -> str:
    return " ".join(str(value).split()) or "-"


def _file_name(name: str) -> str:
    """Return a name for files; different names stay different."""
    plain = re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)
    suffix = "" if plain[:100] == name else f"-{zlib.crc32(name.encode()):08x}"
    return f"embedding-{plain[:100]}{suffix}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
