"""Every error that callboard raises on purpose.

``CallboardError`` is the root; each error is also the built-in type that a Keras user
would have caught, so existing ``except ValueError`` clauses keep working::

    CallboardError
    ├── ConfigurationError (ValueError)     arguments, or combinations of them, that cannot work
    │   └── UnknownNameError                a name that is not in the list of allowed ones
    ├── UnknownArgumentError (TypeError)    a keyword argument that the callback does not take
    ├── DataError (ValueError)              data of the wrong length, shape or amount
    ├── MetricNotFoundError (LookupError)   a monitored metric that was not logged
    ├── UnsupportedError (TypeError)        what is trained lacks what a callback needs
    ├── HookError (RuntimeError)            a hook broke the protocol (raised StopIteration)
    ├── NonFiniteError (ArithmeticError)    a loss, gradient or weight is NaN or infinite
    ├── FileFormatError (ValueError)        a file that is damaged or of another format
    │   └── DamagedCheckpointError          a checkpoint whose bytes are not those that were saved
    ├── NoCheckpointError (LookupError)     a checkpoint that is not there
    └── RunStateError (RuntimeError)        a method of a run called at the wrong time

Errors of the operating system (a full disk, a path that may not be written) stay ``OSError``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "CallboardError",
    "ConfigurationError",
    "DamagedCheckpointError",
    "DataError",
    "FileFormatError",
    "HookError",
    "MetricNotFoundError",
    "NoCheckpointError",
    "NonFiniteError",
    "RunStateError",
    "UnknownArgumentError",
    "UnknownNameError",
    "UnsupportedError",
    "nearest",
]


class CallboardError(Exception):
    """Root of all errors raised by callboard."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Go from process to process with the message, whatever the constructor takes."""
        return type(self).__new__, (type(self), *self.args), vars(self)


class ConfigurationError(CallboardError, ValueError):
    """Arguments, or a combination of callbacks, that cannot work."""


class UnknownNameError(ConfigurationError):
    """A name that is not one of the allowed ones.

    Args:
        kind: What the name stands for ("optimizer", "mode").
        given: The name as the user wrote it.
        allowed: The names there are.

    Example:
        >>> print(UnknownNameError("optimizer", "adan", ["adam", "sgd"]))
        unknown optimizer 'adan'. Did you mean 'adam'? Allowed: adam, sgd
    """

    def __init__(self, kind: str, given: object, allowed: Iterable[str]) -> None:
        names = sorted(allowed)
        super().__init__(
            f"unknown {kind} {given!r}.{nearest(given, names)} Allowed: {', '.join(names)}"
        )


class UnknownArgumentError(CallboardError, TypeError):
    """A keyword argument that does not exist."""


class DataError(CallboardError, ValueError):
    """Data of the wrong length, shape, type or amount."""


class MetricNotFoundError(CallboardError, LookupError):
    """A monitored metric that was not logged.

    Args:
        name: The metric that was asked for.
        logged: The names that were logged.
        hint: A sentence on what to do, put behind the list of names.

    Example:
        >>> print(MetricNotFoundError("val_los", ["loss", "val_loss"]))
        metric 'val_los' was not logged. Did you mean 'val_loss'? Logged: loss, val_loss
    """

    def __init__(self, name: str, logged: Iterable[str], hint: str = "") -> None:
        names = sorted(logged)
        message = f"metric {name!r} was not logged.{nearest(name, names)} Logged: "
        super().__init__(f"{message}{', '.join(names) or 'nothing'}{'. ' + hint if hint else ''}")


class UnsupportedError(CallboardError, TypeError):
    """What is being trained lacks what a callback needs."""


class HookError(CallboardError, RuntimeError):
    """A hook broke the protocol, for example by raising StopIteration."""


class NonFiniteError(CallboardError, ArithmeticError):
    """A loss, gradient or weight is NaN or infinite."""


class FileFormatError(CallboardError, ValueError):
    """A file that is damaged, incomplete or of another format than its name says."""


class DamagedCheckpointError(FileFormatError):
    """A checkpoint whose bytes are not those that were saved."""


class NoCheckpointError(CallboardError, LookupError):
    """A checkpoint that is not there."""


class RunStateError(CallboardError, RuntimeError):
    """A method of a run was called before it began or after it ended."""


def nearest(given: object, allowed: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the closest allowed name, or an empty string.

    Example:
        >>> nearest("val_los", ["loss", "val_loss"])
        " Did you mean 'val_loss'?"
    """
    import difflib  # noqa: PLC0415 - takes long to load, and errors are rare

    names = list(allowed)
    by_folded = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(given).lower(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[close[0]]!r}?" if close else ""
