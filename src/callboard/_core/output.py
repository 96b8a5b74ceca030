"""Lines on the standard output, whatever its encoding."""

from __future__ import annotations

import sys

__all__ = ["printable", "say"]


def printable(text: str) -> str:
    """Return text with escapes for the characters that the standard output cannot show.

    A path or a metric's name in another script must not end a training.
    """
    # While rich draws, it puts an object without an encoding in the place of the stream.
    stream = getattr(sys.stdout, "rich_proxied_file", sys.stdout)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()
