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

__all__ = [
    "file_version_event",
    "histogram_value",
    "image_value",
    "scalar_value",
    "session_start_event",
    "summary_event",
    "text_value",
]

_WALL_TIME = struct.Struct("<Bd")  # the field's key, then the time
_FLOAT = struct.Struct("<f")

# Keys of protobuf fields: number << 3 | wire type (0 varint, 1 eight bytes, 2 length, 5 four).
_EVENT_WALL_TIME, _EVENT_STEP = 0x09, b"\x10"
_EVENT_FILE_VERSION, _EVENT_SUMMARY, _EVENT_SESSION_LOG = b"\x1a", b"\x2a", b"\x3a"
_SUMMARY_VALUE = b"\x0a"
_VALUE_TAG, _VALUE_SIMPLE, _VALUE_TENSOR, _VALUE_METADATA = b"\x0a", b"\x15", b"\x42", b"\x4a"
_TENSOR_DTYPE, _TENSOR_SHAPE, _TENSOR_CONTENT, _TENSOR_STRING = b"\x08", b"\x12", b"\x22", b"\x42"
_SHAPE_DIM, _DIM_SIZE = b"\x12", b"\x08"
_DT_DOUBLE, _DT_STRING = b"\x02", b"\x07"

_START = b"\x08\x01"  # SessionLog: status START
_BYTES = [bytes((n,)) for n in range(128)]

_PNG = b"\x89PNG\r\n\x1a\n"
_STEP_END = 1 << 63


def file_version_event(wall_time: float) -> bytes:
    """Return the message that opens every event file."""
    return _head(0, wall_time) + _field(_EVENT_FILE_VERSION, b"brain.Event:2")


def session_start_event(step: SupportsIndex, wall_time: float) -> bytes:
    """Return the message that makes readers drop what earlier files hold from ``step`` on.

    Raises:
        DataError: If ``step`` is no integer of 64 bits.
    """
    return _head(step, wall_time) + _field(_EVENT_SESSION_LOG, _START)


def summary_event(values: bytes, step: SupportsIndex, wall_time: float) -> bytes:
    """Return the message that records ``values`` for ``step``.

    Args:
        values: What the ``*_value`` functions returned, joined.
        step: Any integer of 64 bits.
        wall_time: Seconds since the epoch.

    Raises:
        DataError: If ``step`` is no integer of 64 bits or ``wall_time`` no number.
    """
    return _head(step, wall_time) + _EVENT_SUMMARY + _varint(len(values)) + values


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
    sizes = b"".join(
        _field(_SHAPE_DIM, _DIM_SIZE + _varint(size) if size else b"") for size in buckets.shape
    )
    content = buckets.astype("<f8").tobytes()
    tensor = _TENSOR_DTYPE + _DT_DOUBLE + _field(_TENSOR_SHAPE, sizes)
    return _tensor_value(tag, tensor + _field(_TENSOR_CONTENT, content), _metadata("histograms"))


def text_value(tag: str, text: str) -> bytes:
    """Return a text, which TensorBoard shows as Markdown.

    Raises:
        DataError: If ``text`` is no string or ``tag`` not a name.
    """
    tensor = _TENSOR_DTYPE + _DT_STRING + _TENSOR_SHAPE + b"\x00"
    encoded = _encoded(text, f"the text for {tag!r}")
    return _tensor_value(tag, tensor + _field(_TENSOR_STRING, encoded), _metadata("text"))


def image_value(tag: str, images: Iterable[bytes], width: int, height: int) -> bytes:
    """Return images of one size that share a tag, each the content of a PNG file.

    Raises:
        DataError: If an image is not a PNG or ``tag`` not a name.
    """
    strings = [str(width).encode(), str(height).encode()]
    for image in images:
        if not isinstance(image, bytes) or not image.startswith(_PNG):
            raise DataError(
                f"the image {tag!r} needs the bytes of a PNG file, got {_described(image)}; "
                "encode the pixels first"
            )
        strings.append(image)
    shape = _field(_SHAPE_DIM, _DIM_SIZE + _varint(len(strings)))
    tensor = _TENSOR_DTYPE + _DT_STRING + _field(_TENSOR_SHAPE, shape)
    content = b"".join(_field(_TENSOR_STRING, string) for string in strings)
    return _tensor_value(tag, tensor + content, _metadata("images"))


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
        f"the scalar {tag!r} needs one number, got {_described(value)}; "
        "reduce arrays to one number, and write words with text()"
    )


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 60 else shown[:57] + '...'}"


def _head(step: SupportsIndex, wall_time: float) -> bytes:
    if type(step) is not int:
        step = _integer(step)
    try:
        packed = _WALL_TIME.pack(_EVENT_WALL_TIME, wall_time)
    except struct.error:
        raise DataError(f"wall_time is in seconds, got {_described(wall_time)}") from None
    if 0 < step < _STEP_END:
        return packed + _EVENT_STEP + _varint(step)
    if step == 0:
        return packed
    if -_STEP_END <= step < 0:  # two's complement, always ten bytes
        return packed + _EVENT_STEP + _varint(step + 2 * _STEP_END)
    raise DataError(f"a step has 64 bits, got {step}")


def _integer(step: SupportsIndex) -> int:
    try:
        return operator.index(step)
    except TypeError:
        raise DataError(
            f"a step is an integer, got {_described(step)}; convert it with int()"
        ) from None


# Programs that put a counter into their tags would otherwise fill the memory.
@functools.lru_cache(maxsize=4096)
def _scalar_head(tag: str) -> bytes:
    body = _field(_VALUE_TAG, _tag(tag)) + _VALUE_SIMPLE
    return _SUMMARY_VALUE + _varint(len(body) + _FLOAT.size) + body


def _tensor_value(tag: str, tensor: bytes, metadata: bytes) -> bytes:
    body = _field(_VALUE_TAG, _tag(tag)) + _field(_VALUE_TENSOR, tensor)
    return _field(_SUMMARY_VALUE, body + metadata)


def _metadata(plugin: str) -> bytes:
    """Return the field that tells TensorBoard which dashboard shows the value."""
    data = _field(b"\x0a", plugin.encode())  # PluginData.plugin_name
    return _field(_VALUE_METADATA, _field(b"\x0a", data))  # SummaryMetadata.plugin_data


def _tag(tag: str) -> bytes:
    if tag == "":
        raise DataError("a tag is empty; give a name such as 'loss'")
    return _encoded(tag, "a tag")


def _encoded(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise DataError(f"{what} is a string, got {_described(text)}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} is not valid Unicode: {text!r}") from None


def _field(key: bytes, content: bytes) -> bytes:
    return key + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Return a number as protobuf does: seven bits a byte, the lowest first."""
    if number < 128:
        return _BYTES[number]
    # Two and three bytes cover nearly every length and step; the loop costs twice as much.
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    if number < 1 << 21:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
