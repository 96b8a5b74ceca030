"""What the dashboard of hyperparameters shows of a run.

Source: ``hparams_pb`` of TensorBoard's ``plugins/hparams/summary_v2.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from callboard._core.errors import DataError
from callboard.events.protobuf import described, double, encoded, field, optional
from callboard.events.tensors import numbers, tensor_value

__all__ = ["session_end_value", "session_start_value"]

_NOTHING = numbers(np.zeros(0, np.float32))
_PLUGIN = "hparams"
_SUCCESS, _FAILURE = b"\x08\x01", b"\x08\x02"


def session_start_value(hparams: Mapping[str, object], start_time: float, group: str = "") -> bytes:
    """Return the hyperparameters of a run.

    Args:
        hparams: Numbers, booleans and texts by name.
        start_time: When the run began, seconds since the epoch.
        group: Runs of one group are repetitions, shown as one with their mean.

    Raises:
        DataError: If a name or value is none.
    """
    entries = b"".join(
        field(
            b"\x0a", field(b"\x0a", encoded(name, "a hyperparameter's name")) + _entry(name, value)
        )
        for name, value in sorted(hparams.items())
    )
    named = optional(b"\x22", encoded(group, "the group"))
    session = entries + named + b"\x29" + double(start_time)
    content = field(b"\x1a", session)  # HParamsPluginData.session_start_info
    return tensor_value("_hparams_/session_start_info", _NOTHING, _PLUGIN, content)


def session_end_value(end_time: float, *, failed: bool) -> bytes:
    """Return how and when a run ended, in seconds since the epoch."""
    session = (_FAILURE if failed else _SUCCESS) + b"\x11" + double(end_time)
    content = field(b"\x22", session)  # HParamsPluginData.session_end_info
    return tensor_value("_hparams_/session_end_info", _NOTHING, _PLUGIN, content)


def _entry(name: str, value: object) -> bytes:
    """Return a value as ``google.protobuf.Value``, in its field of a map's entry."""
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.item()
    if isinstance(value, bool):
        content = b"\x20" + bytes((value,))
    elif isinstance(value, int | float):
        content = b"\x11" + double(value)
    elif isinstance(value, str):
        content = field(b"\x1a", encoded(value, f"the hyperparameter {name!r}"))
    else:
        raise DataError(
            f"the hyperparameter {name!r} must be a number, a boolean or a text; "
            f"got {described(value)}; convert it with str()"
        )
    return field(b"\x12", content)
