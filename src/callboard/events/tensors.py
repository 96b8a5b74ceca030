"""Summaries whose value is a tensor: texts, files and numbers, each for one of the dashboards.

Source: ``summary.proto``, ``tensor.proto`` and ``tensor_shape.proto`` of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from callboard._core.errors import DataError
from callboard.events.protobuf import encoded, field, optional, varint

__all__ = ["SUMMARY_VALUE", "VALUE_TAG", "numbers", "shape", "strings", "tag_name", "tensor_value"]

SUMMARY_VALUE, VALUE_TAG = b"\x0a", b"\x0a"
_VALUE_TENSOR, _VALUE_METADATA = b"\x42", b"\x4a"
_DTYPE, _SHAPE, _CONTENT, _STRING = b"\x08", b"\x12", b"\x22", b"\x42"
_SHAPE_DIM, _DIM_SIZE = b"\x12", b"\x08"
_DTYPES = {"float32": b"\x01", "float64": b"\x02"}
_DT_STRING = b"\x07"


def tensor_value(tag: str, tensor: bytes, plugin: str, content: bytes = b"") -> bytes:
    """Return one entry of a summary.

    Args:
        tag: Its name.
        tensor: What ``strings`` or ``numbers`` returned.
        plugin: Name of the dashboard that shows it.
        content: What that dashboard's own message says.

    Raises:
        DataError: If ``tag`` is not a name.
    """
    data = field(b"\x0a", plugin.encode()) + optional(b"\x12", content)  # PluginData
    metadata = field(_VALUE_METADATA, field(b"\x0a", data))  # SummaryMetadata.plugin_data
    body = field(VALUE_TAG, tag_name(tag)) + field(_VALUE_TENSOR, tensor)
    return field(SUMMARY_VALUE, body + metadata)


def strings(items: Sequence[bytes], sizes: Sequence[int] = ()) -> bytes:
    """Return a tensor of strings; one string without ``sizes`` has no axes."""
    content = b"".join(field(_STRING, item) for item in items)
    return _DTYPE + _DT_STRING + field(_SHAPE, shape(sizes)) + content


def numbers(array: npt.NDArray[np.floating]) -> bytes:
    """Return a tensor of float32 or float64."""
    content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    head = _DTYPE + _DTYPES[array.dtype.name] + field(_SHAPE, shape(array.shape))
    return head + optional(_CONTENT, content)


def shape(sizes: Sequence[int]) -> bytes:
    """Return the sizes of a tensor's axes as a message."""
    return b"".join(field(_SHAPE_DIM, _DIM_SIZE + varint(size) if size else b"") for size in sizes)


def tag_name(tag: str) -> bytes:
    """Return a tag as it is written.

    Raises:
        DataError: If it is empty or no text.
    """
    if tag == "":
        raise DataError("a tag is empty; give a name such as 'loss'")
    return encoded(tag, "a tag")
