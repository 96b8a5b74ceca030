"""Sounds as WAV files."""

from __future__ import annotations

import struct
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from callboard._core.errors import DataError
from callboard.events.protobuf import described
from callboard.events.tensors import strings, tensor_value

__all__ = ["audio_value", "encode_wav"]

_WAV = b"\x10\x0b"  # AudioPluginData: encoding WAV


def audio_value(tag: str, wav: bytes) -> bytes:
    """Return a sound, the content of a WAV file.

    Raises:
        DataError: If ``tag`` is not a name.

    Source: ``audio`` of TensorBoard's ``plugins/audio/summary_v2.py``.
    """
    return tensor_value(tag, strings([wav, b""], [1, 2]), "audio", _WAV)


def encode_wav(samples: npt.ArrayLike, sample_rate: float) -> bytes:
    """Return samples as a WAV file of 16 bits.

    Args:
        samples: From -1 to 1, shape (frames,) or (frames, channels); what lies beyond is cut off.
        sample_rate: Frames per second.

    Raises:
        DataError: If they are no such samples.

    Example:
        >>> encode_wav([0.0, 1.0], 8000)[-4:].hex()
        '0000ff7f'

    Source: the RIFF WAVE format; 16 bits and their scale as TensorFlow's ``encode_wav`` has them.
    """
    if not isinstance(sample_rate, Real) or not 0 < sample_rate < 1 << 31:
        raise DataError(f"sample_rate is in frames per second, got {described(sample_rate)}")
    array: npt.NDArray[Any] = np.asarray(samples)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        raise DataError(
            "sound has numbers from -1 to 1, shape (frames,) or (frames, channels); "
            f"got {described(array)}"
        )
    channels = 1 if array.ndim == 1 else array.shape[1]
    if not 1 <= channels <= 64:
        raise DataError(
            f"sound of shape (frames, channels) has 1 to 64 channels, got {described(array)}"
        )
    levels = np.clip(np.nan_to_num(array.astype(np.float64), nan=0.0), -1, 1) * 32767
    content = np.rint(levels).astype("<i2").tobytes()
    rate, frame_bytes = int(sample_rate), 2 * channels
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * frame_bytes, frame_bytes, 16)
    body = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body
