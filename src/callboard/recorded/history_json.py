"""Reading a ``History`` that was written as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from callboard._core.errors import FileFormatError
from callboard.recorded.jsonl_log import number_of
from callboard.recorded.recording import Recording

__all__ = ["is_history", "read_history"]


def is_history(path: Path) -> bool:
    """Say whether a file that begins with an object is one object, and no log of lines."""
    with path.open("rb") as file:
        first = file.readline()
    try:
        found = json.loads(first)
    except ValueError:  # an object on several lines
        return path.suffix.lower() == ".json" or first.strip() == b"{"
    lists = any(isinstance(value, list | dict) for value in found.values())
    return isinstance(found, dict) and lists and not {"configuration", "step"} & found.keys()


def read_history(path: Path) -> Recording:
    """Read what ``json.dump(history.history, file)`` wrote, Keras's or callboard's.

    It is an object with a list of numbers for each metric. ``{"epoch": [...], "history": {...}}``
    has the epochs too, from 0.

    Raises:
        FileFormatError: If it is something else, or has no epoch yet.
        OSError: If it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also bytes that are no text
        raise FileFormatError(f"{str(path)!r} is no JSON: {error}") from error
    epochs: Any = None
    if isinstance(found, dict) and isinstance(found.get("history"), dict):
        epochs, found = found.get("epoch"), found["history"]
    if not isinstance(found, dict) or not all(isinstance(v, list) for v in found.values()):
        raise FileFormatError(
            f"{str(path)!r} is no history: an object with a list of numbers for each metric, such "
            'as {"loss": [0.5, 0.25]}, belongs there'
        )
    return _of_lists(path, found, epochs)


def _of_lists(path: Path, lists: Mapping[str, list[Any]], epochs: Any) -> Recording:
    count = max(map(len, lists.values()), default=0)
    if not count:
        raise FileFormatError(f"{str(path)!r} has no epochs yet")
    if not isinstance(epochs, list):
        epochs = list(range(count))
    history: dict[str, list[float]] = {}
    skipped = []
    for name, values in lists.items():
        numbers = [number_of(value) for value in values]
        known = [number for number in numbers if number is not None]
        if len(known) < len(numbers):
            skipped.append(name)
        elif len(known) > len(epochs):
            raise FileFormatError(
                f"{str(path)!r} has {len(known)} values of {name!r} for {len(epochs)} epochs"
            )
        else:  # a metric that comes up late, in Keras's lists, stands at the end
            history[name] = [math.nan] * (len(epochs) - len(known)) + known
    if not history:
        raise FileFormatError(f"{str(path)!r} has no metric that is numbers")
    return Recording(
        path.name, [int(each) for each in epochs], history, skipped, sources=[str(path)]
    )
