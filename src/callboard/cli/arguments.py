"""What the commands ask of their arguments, and of what is installed."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from callboard._core.errors import UnsupportedError

__all__ = ["is_installed", "positive", "require", "seed"]


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    return _whole(text, least=1)


def seed(text: str) -> int:
    """Return a whole number of 0 or more that a generator takes as its seed."""
    number = _whole(text, least=0)
    if number >= 2**63:
        raise argparse.ArgumentTypeError(f"must be less than 2**63; got {text!r}")
    return number


def is_installed(package: str) -> bool:
    """Say whether a package can be imported, without importing it."""
    return find_spec(package) is not None


def require(*packages: str) -> None:
    """Raise an error that says how to install packages, if one of them is not there.

    Raises:
        UnsupportedError: If so.
    """
    missing = [package for package in packages if not is_installed(package)]
    if missing:
        raise UnsupportedError(
            f'this needs {" and ".join(missing)}, not installed here: pip install "callboard[all]"'
        )


def _whole(text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be a whole number, {least} or more; got {text!r}")
    return number
