"""Lines on the standard output, whatever its encoding."""

from __future__ import annotations

import contextlib
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
    """Print a line at once, if there is an output.

    A terminal that was closed, or a full disk below a log, does not end a training.
    """
    if sys.stdout is not None:  # a program without a console has none
        with contextlib.suppress(OSError):
            sys.stdout.write(f"{printable(text)}\n")
            sys.stdout.flush()
