import math
import struct
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from callboard._core.errors import DataError
from callboard.events import summaries
from callboard.events.buckets import finite_buckets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb
    from tensorboard.plugins.image.metadata import create_summary_metadata as image_metadata
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.util.tensor_util import make_tensor_proto

TAGS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
STEPS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.floats(allow_nan=False, allow_infinity=False).filter(bool)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(200)


def message(values: bytes, step=7, wall_time=1.5):
    return Event.FromString(summaries.summary_event(values, step, wall_time))


def serialized(values, step=7, wall_time=1.5):
    return Event(wall_time=wall_time, step=step, summary=values).SerializeToString()


@given(TAGS, st.floats(width=32), STEPS, TIMES)
def test_a_scalar_is_the_bytes_that_protobuf_writes(tag, value, step, wall_time):
    ours = summaries.summary_event(summaries.scalar_value(tag, value), step, wall_time)
    theirs = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    assert ours == serialized(theirs, step, wall_time)


@given(st.dictionaries(TAGS, st.floats(width=32), min_size=1, max_size=40))
def test_scalars_that_share_a_step_are_one_message(values):
    ours = b"".join(summaries.scalar_value(tag, value) for tag, value in values.items())
    theirs = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in values.items()])
    assert summaries.summary_event(ours, 7, 1.5) == serialized(theirs)


@pytest.mark.parametrize("step", [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**63 - 1])
def test_every_length_of_step_is_the_bytes_that_protobuf_writes(step):
    for signed in (step, -step - 1):
        assert summaries.summary_event(b"", signed, 1.5) == serialized(Summary(), signed)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45])
def test_special_numbers_are_recorded_as_they_are(value):
    (entry,) = message(summaries.scalar_value("loss", value)).summary.value
    assert struct.pack("<f", entry.simple_value) == struct.pack("<f", value)


def test_a_number_beyond_float32_is_recorded_as_infinite():
    for value in (1e300, -1e300):
        (entry,) = message(summaries.scalar_value("loss", value)).summary.value
        assert entry.simple_value == math.copysign(math.inf, value)


@pytest.mark.parametrize(
    "value",
    [
        3,
        True,
        np.float64(3),
        np.float16(3),
        np.int64(3),
        np.array(3.0),
        np.array([[3]]),
        torch.tensor(3.0),
        torch.tensor([3]),
    ],
)
def test_one_number_of_any_type_is_a_scalar(value):
    expected = 1.0 if value is True else 3.0
    assert summaries.scalar_value("loss", value) == summaries.scalar_value("loss", expected)


@pytest.mark.parametrize(
    "value",
    ["0.5", b"0.5", None, [0.5], {}, 1j, 10**400, np.zeros(2), np.zeros(0), torch.zeros(2)],
)
def test_what_is_not_one_number_is_an_error_that_names_the_tag(value):
    with pytest.raises(DataError, match=r"scalar 'loss' needs one number, got "):
        summaries.scalar_value("loss", value)


def test_an_error_does_not_print_a_whole_array():
    with pytest.raises(DataError, match=r"array of shape \(1000,\) and type float64"):
        summaries.scalar_value("loss", np.zeros(1000))
    with pytest.raises(DataError) as caught:
        summaries.scalar_value("loss", "x" * 1000)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("tag", ["", "\ud800", b"loss", 3, None])
def test_a_tag_that_is_no_name_is_an_error(tag):
    for encode in (
        lambda: summaries.scalar_value(tag, 0.5),
        lambda: summaries.text_value(tag, "words"),
        lambda: summaries.histogram_value(tag, np.zeros((30, 3))),
        lambda: summaries.image_value(tag, [PNG], 1, 1),
    ):
        with pytest.raises(DataError, match="a tag is"):
            encode()


@pytest.mark.parametrize("step", [1.0, "1", None, np.zeros(2)])
def test_a_step_that_is_no_integer_is_an_error(step):
    with pytest.raises(DataError, match="a step is an integer"):
        summaries.summary_event(b"", step, 0.0)


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1])
def test_a_step_of_more_than_64_bits_is_an_error(step):
    with pytest.raises(DataError, match="64 bits"):
        summaries.summary_event(b"", step, 0.0)


@pytest.mark.parametrize("step", [np.int32(5), np.uint64(5), np.array(5), torch.tensor(5)])
def test_an_integer_of_any_type_is_a_step(step):
    assert message(b"", step).step == 5


def test_a_wall_time_that_is_no_number_is_an_error():
    with pytest.raises(DataError, match="wall_time is in seconds, got str 'now'"):
        summaries.summary_event(b"", 0, "now")


@pytest.mark.parametrize("values", [np.arange(100.0), np.full(5, 2.0), np.zeros(0)])
def test_a_histogram_is_the_bytes_that_protobuf_writes(values):
    ours = summaries.histogram_value("weights/ü", finite_buckets(values)[0])
    theirs = histogram_pb("weights/ü", values)
    assert summaries.summary_event(ours, 7, 1.5) == serialized(theirs)


@given(TAGS, st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_a_text_is_the_bytes_that_protobuf_writes(tag, text):
    ours = summaries.text_value(tag, text)
    assert summaries.summary_event(ours, 7, 1.5) == serialized(text_pb(tag, text))


@pytest.mark.parametrize("text", [b"words", 3, None, "\udfff"])
def test_a_text_that_is_no_string_is_an_error(text):
    with pytest.raises(DataError, match="the text for 'note' is"):
        summaries.text_value("note", text)


@pytest.mark.parametrize("count", [1, 3])
def test_images_are_the_bytes_that_protobuf_writes(count):
    images = [PNG + bytes((n,)) for n in range(count)]
    ours = summaries.image_value("samples", iter(images), 640, 48)
    theirs = Summary.Value(
        tag="samples",
        tensor=make_tensor_proto([b"640", b"48", *images]),
        metadata=image_metadata(display_name=None, description=None),
    )
    assert summaries.summary_event(ours, 7, 1.5) == serialized(Summary(value=[theirs]))


@pytest.mark.parametrize("image", [b"\xff\xd8\xff jpeg", "png", np.zeros((2, 2))])
def test_an_image_that_is_no_png_is_an_error(image):
    with pytest.raises(DataError, match="image 'samples' needs pixels or the bytes of a PNG"):
        summaries.image_value("samples", [image], 2, 2)


def test_files_open_with_version_and_session_start():
    version = Event(wall_time=1.5, file_version="brain.Event:2")
    assert summaries.file_version_event(1.5) == version.SerializeToString()
    start = SessionLog(status=SessionLog.START)
    for step in (0, 80):
        event = Event(wall_time=1.5, step=step, session_log=start)
        assert summaries.session_start_event(step, 1.5) == event.SerializeToString()


def test_many_tags_do_not_fill_the_memory():
    for n in range(6000):
        summaries.scalar_value(f"tag/{n}", 0.0)
    assert summaries._scalar_head.cache_info().currsize <= 4096
