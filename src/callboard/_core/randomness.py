"""The states of all global random generators."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from callboard._core import frameworks

__all__ = ["random_states", "restore_random_states"]


def random_states() -> dict[str, Any]:
    """Return the states of the generators of Python, NumPy and every loaded framework.

    Example:
        >>> states = random_states()
        >>> first = random.random()
        >>> restore_random_states(states)
        >>> random.random() == first
        True
    """
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        "python": {"version": version, "words": np.array(words, np.uint32), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - the global one is meant
    }
    for name, framework in frameworks.loaded():
        states[name] = framework.random_states()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put the generators into the states that ``random_states`` gave.

    A framework that was not loaded then, or is not now, is left as it is.
    """
    python = states["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(states["numpy"])  # noqa: NPY002 - the global one is meant
    for name, framework in frameworks.loaded():
        if name in states:
            framework.restore_random_states(states[name])
