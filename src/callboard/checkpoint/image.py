"""A file of arrays as it will be on the disk."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from callboard.checkpoint.filling import Filling
from callboard.checkpoint.safetensors import Place

__all__ = ["FileImage", "Tensor"]

_CHUNK = 32 * 2**20


class Tensor(NamedTuple):
    """An array of a file.

    Attributes:
        path: Its path in the tree.
        place: Its type, shape and bytes within the file.
    """

    path: str
    place: Place


@dataclass(frozen=True)
class FileImage:
    """A file of arrays as it will be on the disk.

    Attributes:
        name: The file's name.
        size: Its length in bytes.
        head: What comes before the first array.
        tensors: The arrays in it by name.
        aliases: For names whose memory is that of another name, that name's path; by path.
        parts: The bytes of each array, in the order of the file.
        whole: The content as one piece of memory, if it is one.
        filling: How much of the memory has its content; None if all of it has.
    """

    name: str
    size: int
    head: bytes
    tensors: dict[str, Tensor]
    aliases: dict[str, str]
    parts: dict[str, memoryview]
    whole: memoryview | None
    filling: Filling | None = None

    def wait_for(self, end: int) -> None:
        """Return when the content is in memory up to this byte of the file.

        Raises:
            AbandonedError: If it never will be.
        """
        if self.filling is not None:
            self.filling.wait_for(end)

    def chunks(self) -> Iterator[memoryview]:
        """Yield the content in large pieces, each but the last of whole blocks and aligned.

        Each is yielded as soon as its content is in memory.
        """
        if self.whole is not None:
            for start in range(0, self.size, _CHUNK):
                end = min(start + _CHUNK, self.size)
                self.wait_for(end)
                yield self.whole[start:end]
            return
        bounce = memoryview(mmap.mmap(-1, _CHUNK))
        filled = 0
        for part in (memoryview(self.head), *self.parts.values()):
            taken = 0
            while taken < len(part):
                count = min(len(part) - taken, _CHUNK - filled)
                bounce[filled : filled + count] = part[taken : taken + count]
                taken += count
                filled += count
                if filled == _CHUNK:
                    yield bounce
                    filled = 0
        if filled:
            yield bounce[:filled]
