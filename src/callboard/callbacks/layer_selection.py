"""Which layers of a model are looked at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from callboard._core.errors import ConfigurationError, nearest

__all__ = ["LayerSelection"]


class LayerSelection:
    """Names of layers or weights, or patterns of them; what is inside of a layer is meant too.

    Args:
        patterns: Names, in which ``*``, ``?`` and ``[...]`` stand for others; None for all layers.

    Example:
        >>> chosen = LayerSelection(["encoder", "*.bias"])
        >>> [name for name in ("encoder.0.weight", "head.weight", "head.bias") if name in chosen]
        ['encoder.0.weight', 'head.bias']
    """

    def __init__(self, patterns: str | Sequence[str] | None) -> None:
        given = [patterns] if isinstance(patterns, str) else patterns
        if given is not None and not (
            isinstance(given, list | tuple) and given and all(isinstance(p, str) for p in given)
        ):
            raise ConfigurationError(
                f"layers must be names or patterns, such as ['encoder.*', 'head']; got {patterns!r}"
            )
        self._patterns = given

    def __contains__(self, name: str) -> bool:
        return self._patterns is None or any(_matches(name, p) for p in self._patterns)

    def check(self, names: Iterable[str]) -> None:
        """Check that each pattern stands for something.

        Raises:
            ConfigurationError: For one that stands for none of these layers and weights.
        """
        known = tuple(names)
        for pattern in self._patterns or ():
            if not any(_matches(name, pattern) for name in known):
                shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
                raise ConfigurationError(
                    f"layers has {pattern!r}, which is no layer.{nearest(pattern, known)} "
                    f"There are: {shown or 'none'}"
                )


def _matches(name: str, pattern: str) -> bool:
    """Say whether a pattern stands for a name, or for a layer that it is inside of."""
    ends = (len(name), *(found.start() for found in re.finditer(r"[./]", name)))
    return any(fnmatchcase(name[:end], pattern) for end in ends)
