"""What a run's results depend on besides the program."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from callboard._core import frameworks

__all__ = ["environment"]


def environment() -> dict[str, Any]:
    """Return what has to be equal for a resumed run to be equal bit for bit: versions, devices."""
    found: dict[str, Any] = {"python": platform.python_version(), "numpy": np.__version__}
    for name, framework in frameworks.loaded():
        found |= {f"{name} {key}": value for key, value in framework.environment().items()}
    return found
