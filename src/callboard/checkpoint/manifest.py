"""What a checkpoint consists of, and the digest of every byte of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import xxhash

from callboard._core.errors import DamagedCheckpointError, FileFormatError
from callboard.checkpoint import strict_json
from callboard.checkpoint.dtypes import dtype_of
from callboard.checkpoint.keep import Checkpoint
from callboard.checkpoint.safetensors import Place

__all__ = [
    "FORMAT",
    "SUMMARY_BYTES",
    "FileEntry",
    "LaterFormatError",
    "Manifest",
    "TensorEntry",
    "digest_of",
]

FORMAT = 1
"""Version of the layout of a checkpoint; a reader refuses a later one."""

SUMMARY_BYTES = 4096
"""So much of a manifest is read to list a checkpoint; the summary stands first."""

_BASE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}")
_MALFORMED = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
_START, _SEAL = b'{"summary":', b',"digest":"'


class LaterFormatError(FileFormatError):
    """A checkpoint that a later version wrote: whole, and not for this one to read."""


def digest_of(*data: Any) -> str:
    """Return the xxh3-128 digest of some bytes, hexadecimal.

    It detects accidents, not attackers: https://xxhash.com.
    """
    digest = xxhash.xxh3_128()
    for part in data:
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """An array of a file.

    Attributes:
        path: Its path in the tree that was saved.
        place: Its type, shape and bytes within the file.
        digest: The digest of these bytes.
    """

    path: str
    place: Place
    digest: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of a checkpoint.

    Attributes:
        size: Its length in bytes.
        digest: The digest of its content.
        tensors: The arrays in it by name.
        aliases: Paths whose array is that of another path.
    """

    size: int
    digest: str
    tensors: Mapping[str, TensorEntry] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The list of a checkpoint's files.

    Attributes:
        checkpoint: What is known without them.
        files: Every file by name.
    """

    checkpoint: Checkpoint
    files: Mapping[str, FileEntry]

    def encoded(self) -> bytes:
        """Return the content of ``manifest.json``."""
        files = {name: _entry_to_json(entry) for name, entry in self.files.items()}
        summary = _json(_summary_to_json(self.checkpoint))
        # Sealed by itself: it is read alone, to find the newest and the best.
        body = _START + summary + b',"seal":"' + digest_of(summary).encode() + b'"'
        body += b',"files":' + _json(files)
        return body + _SEAL + digest_of(body).encode() + b'"}\n'

    @classmethod
    def decoded(cls, data: bytes, name: str) -> Manifest:
        """Read what ``encoded`` gave.

        Args:
            data: The content of the file.
            name: The checkpoint's name, for the errors.

        Raises:
            DamagedCheckpointError: If one byte of it is another.
            LaterFormatError: If it is of a later version.
            FileFormatError: If it lists what no checkpoint has.
        """
        body, seal, end = data.rpartition(_SEAL)
        if not seal or end != digest_of(body).encode() + b'"}\n':
            raise DamagedCheckpointError(f"the manifest of {name} is damaged or not whole")
        content = strict_json.loads(data, f"the manifest of {name}")
        try:
            checkpoint = _summary_from_json(content["summary"], name)
            files = {
                _checked_name(file): _entry_from_json(entry)
                for file, entry in content["files"].items()
            }
        except LaterFormatError:
            raise
        except _MALFORMED as error:
            raise FileFormatError(f"the manifest of {name} is none of ours: {error}") from error
        return cls(checkpoint, files)

    @staticmethod
    def summary(head: bytes, name: str) -> Checkpoint:
        """Read the summary alone, from the first bytes of a manifest.

        Raises:
            FileFormatError: If there is none, or one byte of it is another.
        """
        try:
            if not head.startswith(_START):
                raise ValueError("it does not begin with a summary")
            summary, seal, rest = head[len(_START) :].partition(b',"seal":"')
            if not seal or rest[:32] != digest_of(summary).encode():
                raise ValueError("its summary is damaged")
            content = strict_json.loads(summary, f"the summary of {name}")
            return _summary_from_json(content, name)
        except (*_MALFORMED, RecursionError) as error:
            raise FileFormatError(f"the manifest of {name} cannot be read: {error}") from error


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _summary_to_json(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "number": checkpoint.number,
        "step": checkpoint.step,
        "epoch": checkpoint.epoch,
        "time_s": checkpoint.time_s,
        "metrics": checkpoint.metrics,
    }


def _summary_from_json(content: Mapping[str, Any], name: str) -> Checkpoint:
    if content["format"] != FORMAT:
        told = f"format {content['format']!r}, and this version of callboard reads {FORMAT}"
        if isinstance(content["format"], int) and content["format"] > FORMAT:
            raise LaterFormatError(f"{name} has {told}; use the later version that wrote it")
        raise ValueError(f"it has {told}")
    return Checkpoint(
        name,
        _count(content["number"]),
        _count(content["step"]),
        _count(content["epoch"]),
        {str(metric): float(value) for metric, value in content["metrics"].items()},
        float(content["time_s"]),
    )


def _entry_to_json(entry: FileEntry) -> dict[str, Any]:
    content: dict[str, Any] = {"size": entry.size, "digest": entry.digest}
    if entry.tensors:
        content["tensors"] = {
            name: {
                "path": tensor.path,
                "dtype": tensor.place.code,
                "shape": tensor.place.shape,
                "bytes": [tensor.place.begin, tensor.place.end],
                "digest": tensor.digest,
            }
            for name, tensor in entry.tensors.items()
        }
    if entry.aliases:
        content["aliases"] = dict(entry.aliases)
    return content


def _entry_from_json(content: Mapping[str, Any]) -> FileEntry:
    size = _count(content["size"])
    tensors = {}
    for name, tensor in content.get("tensors", {}).items():
        shape = tuple(_count(length) for length in tensor["shape"])
        begin, end = (_count(offset) for offset in tensor["bytes"])
        place = Place(tensor["dtype"], shape, begin, end)
        if not begin <= end <= size:
            raise ValueError(f"the array {name!r} is not within its file")
        if end - begin != math.prod(shape) * dtype_of(place.code).itemsize:
            raise ValueError(f"the array {name!r} has not the bytes of its shape")
        tensors[name] = TensorEntry(_text(tensor["path"]), place, _text(tensor["digest"]))
    aliases = {_text(alias): _text(path) for alias, path in content.get("aliases", {}).items()}
    return FileEntry(size, _text(content["digest"]), tensors, aliases)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _checked_name(name: str) -> str:
    """Return a file's name if it is one, and no path to somewhere else."""
    if not _BASE_NAME.fullmatch(name) or name == "manifest.json":
        raise ValueError(f"{name!r} is no name of a checkpoint's file")
    return name
