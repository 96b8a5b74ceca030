"""What an event file says, encoded by hand: ``tensorflow.Event`` messages without protobuf.

The bytes are those that the protobuf package would write: fields in the order of their numbers,
fields with default values left out. Each ``*_value`` function returns one entry of a summary;
entries of one step are joined and become a message in :func:`summary_event`.

Source: ``event.proto``, ``summary.proto`` and ``tensor.proto`` of TensorFlow, and the
``summary_v2`` modules of TensorBoard's plugins.
"""

from __future__ import annotations

import functools
import math
import operator
import struct
from collections.abc import Iterable
from typing import SupportsFloat, SupportsIndex

import numpy as np
import numpy.typing as npt

from callboard._core.errors import DataError
from callboard.events.protobuf import described, encoded, field, varint
from callboard.events.tensors import (
    SUMMARY_VALUE,
    VALUE_TAG,
    numbers,
    strings,
    tag_name,
    tensor_value,
)

__all__ = [
    "file_version_event",
    "graph_event",
    "histogram_value",
    "image_value",
    "scalar_value",
    "session_start_event",
    "summary_event",
    "text_value",
]

_WALL_TIME = struct.Struct("<Bd")  # the field's key, then the time
_FLOAT = struct.Struct("<f")

_EVENT_WALL_TIME, _EVENT_STEP = 0x09, b"\x10"
_EVENT_FILE_VERSION, _EVENT_GRAPH = b"\x1a", b"\x22"
_EVENT_SUMMARY, _EVENT_SESSION_LOG = b"\x2a", b"\x3a"
_VALUE_SIMPLE = b"\x15"

_START = b"\x08\x01"  # SessionLog: status START

_PNG = b"\x89PNG\r\n\x1a\n"
_STEP_END = 1 << 63


def file_version_event(wall_time: float) -> bytes:
    """Return the message that opens every event file."""
    return _head(0, wall_time) + field(_EVENT_FILE_VERSION, b"brain.Event:2")


def session_start_event(step: SupportsIndex, wall_time: float) -> bytes:
    """Return the message that makes readers drop what earlier files hold from ``step`` on.

    Raises:
        DataError: If ``step`` is no integer of 64 bits.
    """
    return _head(step, wall_time) + field(_EVENT_SESSION_LOG, _START)


def graph_event(graph: bytes, step: SupportsIndex, wall_time: float) -> bytes:
    """Return the message that records a graph, a serialized ``GraphDef``.

    Raises:
        DataError: If ``step`` is no integer of 64 bits or ``wall_time`` no number.
    """
    return _head(step, wall_time) + field(_EVENT_GRAPH, graph)


def summary_event(values: bytes, step: SupportsIndex, wall_time: float) -> bytes:
    """Return the message that records ``values`` for ``step``.

    Args:
        values: What the ``*_value`` functions returned, joined.
        step: Any integer of 64 bits.
        wall_time: Seconds since the epoch.

    Raises:
        DataError: If ``step`` is no integer of 64 bits or ``wall_time`` no number.
    """
    return _head(step, wall_time) + _EVENT_SUMMARY + varint(len(values)) + values


def scalar_value(tag: str, value: SupportsFloat) -> bytes:
    """Return a scalar, as ``simple_value``: float32, NaN and infinities as they are.

    TensorBoard's loaders turn it into the tensor that TensorFlow 2 writes, of the same float32,
    and readers from before TensorFlow 2 know nothing else; it takes half the bytes.

    Raises:
        DataError: If ``value`` is not one number or ``tag`` not a name.
    """
    if type(value) is not float:
        value = _number(tag, value)
    try:
        packed = _FLOAT.pack(value)
    except OverflowError:  # beyond float32, where a conversion gives infinity
        packed = _FLOAT.pack(math.copysign(math.inf, value))
    return _scalar_head(tag) + packed


def histogram_value(tag: str, buckets: npt.NDArray[np.float64]) -> bytes:
    """Return a histogram from rows of left edge, right edge and count (float64, shape (k, 3)).

    Raises:
        DataError: If ``tag`` is not a name.
    """
    return tensor_value(tag, numbers(buckets), "histograms")


def text_value(tag: str, text: str) -> bytes:
    """Return a text, which TensorBoard shows as Markdown.

    Raises:
        DataError: If ``text`` is no string or ``tag`` not a name.
    """
    return tensor_value(tag, strings([encoded(text, f"the text for {tag!r}")]), "text")


def image_value(tag: str, images: Iterable[bytes], width: int, height: int) -> bytes:
    """Return images of one size that share a tag, each the content of a PNG file.

    Raises:
        DataError: If an image is not a PNG or ``tag`` not a name.
    """
    items = [str(width).encode(), str(height).encode()]
    for image in images:
        if not isinstance(image, bytes) or not image.startswith(_PNG):
            raise DataError(
                f"the image {tag!r} needs pixels or the bytes of a PNG file, got {described(image)}"
            )
        items.append(image)
    return tensor_value(tag, strings(items, [len(items)]), "images")


def _number(tag: str, value: SupportsFloat) -> float:
    """Return ``value`` as a float if it is one number, whatever type holds it."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if not isinstance(value, (str, bytes, bytearray)):
        try:
            return float(value)
        # Frameworks raise RuntimeError for tensors of several numbers.
        except (TypeError, ValueError, OverflowError, RuntimeError):
            pass
    raise DataError(
        f"the scalar {tag!r} needs one number, got {described(value)}; "
        "reduce arrays to one number, and write words with add_text()"
    )


def _head(step: SupportsIndex, wall_time: float) -> bytes:
    if type(step) is not int:
        step = _integer(step)
    try:
        packed = _WALL_TIME.pack(_EVENT_WALL_TIME, wall_time)
    except struct.error:
        raise DataError(f"wall_time is in seconds, got {described(wall_time)}") from None
    if 0 < step < _STEP_END:
        return packed + _EVENT_STEP + varint(step)
    if step == 0:
        return packed
    if -_STEP_END <= step < 0:  # two's complement, always ten bytes
        return packed + _EVENT_STEP + varint(step + 2 * _STEP_END)
    raise DataError(f"a step has 64 bits, got {step}")


def _integer(step: SupportsIndex) -> int:
    try:
        return operator.index(step)
    except TypeError:
        raise DataError(
            f"a step is an integer, got {described(step)}; convert it with int()"
        ) from None


# Programs that put a counter into their tags would otherwise fill the memory.
@functools.lru_cache(maxsize=4096)
def _scalar_head(tag: str) -> bytes:
    body = field(VALUE_TAG, tag_name(tag)) + _VALUE_SIMPLE
    return SUMMARY_VALUE + varint(len(body) + _FLOAT.size) + body
