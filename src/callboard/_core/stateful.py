"""Objects of the user's whose state belongs to a run: schedulers, scalers, averages, generators."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from callboard._core.errors import ConfigurationError

__all__ = ["check_stateful", "restore_state", "state_of"]


def check_stateful(name: str, item: object) -> None:
    """Raise ConfigurationError if the state of an object cannot be saved."""
    if isinstance(item, np.random.Generator | random.Random):
        return
    for getter, setter in (("state_dict", "load_state_dict"), ("get_state", "set_state")):
        if callable(getattr(item, getter, None)) and callable(getattr(item, setter, None)):
            return
    raise ConfigurationError(
        f"stateful[{name!r}] is a {type(item).__name__}, whose state cannot be saved; allowed are "
        "objects with state_dict() and load_state_dict(), and random generators of Python, NumPy "
        "and torch"
    )


def state_of(item: Any) -> Any:
    """Return the state of an object that ``check_stateful`` accepts."""
    if isinstance(item, np.random.Generator):
        return item.bit_generator.state
    if isinstance(item, random.Random):
        version, words, gauss = item.getstate()
        return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}
    return item.state_dict() if hasattr(item, "state_dict") else item.get_state()


def restore_state(item: Any, state: Any) -> None:
    """Put an object into the state that ``state_of`` gave."""
    if isinstance(item, np.random.Generator):
        item.bit_generator.state = state
    elif isinstance(item, random.Random):
        item.setstate((state["version"], tuple(state["words"].tolist()), state["gauss"]))
    elif hasattr(item, "load_state_dict"):
        item.load_state_dict(state)
    else:
        item.set_state(state)
