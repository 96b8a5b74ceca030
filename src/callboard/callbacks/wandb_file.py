"""What the files that Weights & Biases writes offline have of a run."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["last_steps", "records"]

_HEADER_BYTES = 7
_BLOCK_BYTES = 32768
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def last_steps(folder: Path, run_id: str) -> dict[str, int]:
    """Return for each metric of a run the last step in its offline files.

    Args:
        folder: The folder "wandb".
        run_id: The run.
    """
    steps: dict[str, int] = {}
    for path in sorted(folder.glob(f"offline-run-*/run-{run_id}.wandb")):
        for record in records(path):
            if record.WhichOneof("record_type") == "history":
                for item in record.history.item:
                    name = item.key or ".".join(item.nested_key)
                    steps[name] = max(steps.get(name, -1), record.history.step.num)
    return steps


def records(path: Path) -> Iterator[Any]:
    """Yield the whole records of a file, as messages; a torn end is left out.

    Source: the log format of LevelDB (doc/log_format.md there) behind a header of seven bytes.
    """
    record = importlib.import_module("wandb.proto.wandb_internal_pb2").Record
    for data in _payloads(path.read_bytes()):
        yield record.FromString(data)


def _payloads(content: bytes) -> Iterator[bytes]:
    at, parts = _HEADER_BYTES, b""
    while at + 7 <= len(content):
        left = _BLOCK_BYTES - at % _BLOCK_BYTES
        if left < 7:  # too short for a header: filled with zeros
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        data = content[at + 7 : at + 7 + length]
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or len(data) < length:
            return
        at += 7 + length
        parts = data if kind in (_FULL, _FIRST) else parts + data
        if kind in (_FULL, _LAST):
            yield parts
