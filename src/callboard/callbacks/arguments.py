"""Arguments of constructors, checked where they are given."""

from __future__ import annotations

import math
import os
from numbers import Integral, Real
from typing import Any

import numpy as np

from callboard._core.errors import ConfigurationError

__all__ = ["flag", "number", "path", "text", "verbosity", "whole"]


def number(
    value: Any, name: str, *, least: float = -math.inf, above: float = -math.inf, unit: str = ""
) -> float:
    """Return a finite number of ``least`` or more, and more than ``above``.

    Raises:
        ConfigurationError: For anything else, texts and truth values included.

    Example:
        >>> number(0.5, "min_lr", least=0.0)
        0.5
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not is_number or not math.isfinite(value) or value < least or value <= above:
        bound = f", {least:g} or more" if least > -math.inf else ""
        bound = f" above {above:g}" if above > -math.inf else bound
        raise ConfigurationError(
            f"{name} must be a finite number{unit and f' of {unit}'}{bound}; got {value!r}"
        )
    return value  # type: ignore[no-any-return] # as it was given: an int stays one


def whole(value: Any, name: str, *, least: int = 0, unit: str = "") -> int:
    """Return a whole number of ``least`` or more.

    Raises:
        ConfigurationError: For anything else, texts and truth values included.

    Example:
        >>> whole(3, "retries")
        3
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigurationError(
            f"{name} must be a whole number{unit and f' of {unit}'}, {least} or more; got {value!r}"
        )
    return int(value)


def flag(value: Any, name: str) -> bool:
    """Return True or False; 1 and 0 are taken for them, as Keras does.

    Raises:
        ConfigurationError: For anything else: a text such as "no" would count as True.

    Example:
        >>> flag(1, "append")
        True
    """
    if isinstance(value, bool | np.bool_) or (isinstance(value, Integral) and value in (0, 1)):
        return bool(value)
    raise ConfigurationError(f"{name} must be True or False; got {value!r}")


def verbosity(value: Any) -> int:
    """Return 0, 1 or 2; True and False are 1 and 0.

    Raises:
        ConfigurationError: For anything else.

    Example:
        >>> verbosity(True)
        1
    """
    if isinstance(value, Integral | np.bool_) and value in (0, 1, 2):
        return int(value)
    raise ConfigurationError(f"verbose must be 0, or 1 to print what is decided; got {value!r}")


def text(value: Any, name: str, *, may_be_empty: bool = False) -> str:
    """Return a text, which is not empty.

    Raises:
        ConfigurationError: For anything else.

    Example:
        >>> text("val_loss", "monitor")
        'val_loss'
    """
    if not isinstance(value, str) or (not value and not may_be_empty):
        raise ConfigurationError(f"{name} must be a text; got {value!r}")
    return value


def path(value: Any, name: str) -> str:
    """Return the path of a file or folder as a text.

    Raises:
        ConfigurationError: For anything else, and for an empty text.

    Example:
        >>> from pathlib import PurePosixPath
        >>> path(PurePosixPath("logs/a"), "log_dir")
        'logs/a'
    """
    if isinstance(value, str | os.PathLike):
        given = os.fspath(value)
        if isinstance(given, str) and given:
            return given
    raise ConfigurationError(f"{name} must be a path, as a text or a pathlib.Path; got {value!r}")
