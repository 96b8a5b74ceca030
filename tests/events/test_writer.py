import math
import os
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard._core.errors import ConfigurationError, DataError, RunStateError
from callboard.events import EventWriter, read_records
from callboard.events.png import encode_png

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.compat.proto.event_pb2 import Event

PNG = encode_png(np.zeros((1, 2), np.uint8)).content


def tags_and_steps(messages):
    return [(v.tag, e.step) for e in messages for v in e.summary.value]


def test_a_writer_that_is_not_written_to_leaves_nothing_behind(tmp_path):
    with EventWriter(tmp_path / "run") as writer:
        writer.flush()
        writer.sync()
        assert writer.path is None
        assert writer.offset == 0
        writer.add_scalars({}, 0)
    assert not (tmp_path / "run").exists()


def test_a_file_opens_with_version_and_session_start(open_writer, events):
    for start_step in (0, 80):
        writer = open_writer(start_step=start_step)
        writer.add_scalar("loss", 0.5, start_step)
        writer.close()
        version, start, scalar = events(writer.path)
        assert version.file_version == "brain.Event:2"
        assert (start.session_log.status, start.step) == (start.session_log.START, start_step)
        assert (scalar.step, scalar.summary.value[0].simple_value) == (start_step, 0.5)


def test_every_kind_of_record_is_written_in_the_order_of_the_calls(open_writer, events):
    writer = open_writer()
    writer.add_scalar("a", 1, 1)
    writer.add_scalars({"b": 2, "c": 3}, 2)
    writer.add_histogram("d", np.arange(5.0), 3)
    writer.add_text("e", "words", 4)
    writer.add_image("f", PNG, 5)
    writer.add_images("g", [PNG, PNG], 6)
    writer.flush()
    messages = events(writer.path)
    expected = [("a", 1), ("b", 2), ("c", 2), ("d", 3), ("e", 4), ("f", 5), ("g", 6)]
    assert tags_and_steps(messages) == expected
    plugins = [m.summary.value[0].metadata.plugin_data.plugin_name for m in messages[4:]]
    assert plugins == ["histograms", "text", "images", "images"]
    assert list(messages[-1].summary.value[0].tensor.string_val) == [b"2", b"1", PNG, PNG]


def test_wall_time_is_the_clock_or_what_is_given(open_writer, events, clock):
    writer = open_writer()
    writer.add_scalar("loss", 0.5, 0)
    writer.add_scalar("loss", 0.5, 1, wall_time=12.5)
    writer.add_scalars({"loss": 0.5}, 2, wall_time=13)
    writer.add_histogram("h", [1.0], 3, wall_time=14)
    writer.add_text("t", "", 4, wall_time=15)
    writer.add_image("i", PNG, 5, wall_time=16)
    writer.flush()
    times = [message.wall_time for message in events(writer.path)]
    assert times == [clock.now] * 3 + [12.5, 13, 14, 15, 16]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.floats(width=32, allow_nan=False),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(0, 1e10),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_what_was_written_is_what_is_read(tmp_path_factory, scalars):
    with EventWriter(tmp_path_factory.mktemp("run"), buffer_bytes=100) as writer:
        for tag, value, step, wall_time in scalars:
            writer.add_scalar(tag, value, step, wall_time=wall_time)
    read = []
    for payload in list(read_records(writer.path))[2:]:
        event = Event.FromString(payload)
        (entry,) = event.summary.value
        read.append((entry.tag, entry.simple_value, event.step, event.wall_time))
    assert read == scalars


def test_several_scalars_are_recorded_all_or_none(open_writer, events):
    writer = open_writer()
    writer.add_scalar("loss", 0.5, 0)
    with pytest.raises(DataError, match="scalar 'accuracy'"):
        writer.add_scalars({"loss": 0.25, "accuracy": "high"}, 1)
    writer.flush()
    assert tags_and_steps(events(writer.path)) == [("loss", 0)]


def test_a_histogram_warns_once_per_tag_of_what_it_leaves_out(open_writer, events):
    writer = open_writer()
    values = np.array([1.0, math.nan, math.inf])
    with pytest.warns(RuntimeWarning, match="'w' at step 3: 2 values are NaN or .* 1 were counted"):
        writer.add_histogram("w", values, 3)
    writer.add_histogram("w", values, 4)
    with pytest.warns(RuntimeWarning, match="'v' at step 4") as caught:
        writer.add_histogram("v", values, 4)
    assert caught[0].filename == __file__
    writer.flush()
    assert tags_and_steps(events(writer.path)) == [("w", 3), ("w", 4), ("v", 4)]


def test_writing_after_close_is_an_error_that_names_the_directory(open_writer, tmp_path):
    writer = open_writer()
    writer.add_scalar("loss", 0.5, 0)
    writer.close()
    with pytest.raises(RunStateError, match=r"run' is closed; .* start_step="):
        writer.add_scalar("loss", 0.5, 1)
    with pytest.raises(RunStateError):
        writer.add_text("note", "words", 1)


def test_closing_is_final_even_if_nothing_was_written(open_writer):
    writer = open_writer()
    writer.close()
    with pytest.raises(RunStateError):
        writer.add_scalar("loss", 0.5, 0)
    assert writer.path is None


def test_close_flush_and_sync_may_be_called_again(open_writer):
    writer = open_writer()
    writer.add_scalar("loss", 0.5, 0)
    writer.close()
    size = writer.path.stat().st_size
    writer.close()
    writer.flush()
    writer.sync()
    assert writer.path.stat().st_size == writer.offset == size


def test_an_error_in_the_block_closes_the_file_and_goes_on(tmp_path, events):
    error = KeyError("from the training loop")
    writer = EventWriter(tmp_path)
    writer.add_scalar("loss", 0.5, 0)
    with pytest.raises(KeyError) as caught, writer:
        raise error
    assert caught.value is error
    assert tags_and_steps(events(writer.path)) == [("loss", 0)]


def test_threads_may_share_a_writer(open_writer, events):
    writer = open_writer(buffer_bytes=500)

    def write(tag):
        for step in range(300):
            writer.add_scalar(tag, step, step)

    threads = [threading.Thread(target=write, args=(f"thread/{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    expected = sorted((f"thread/{n}", step) for n in range(4) for step in range(300))
    assert sorted(tags_and_steps(events(writer.path))) == expected


def test_a_thread_waits_while_another_one_writes(open_writer):
    writer = open_writer()
    with writer._file._lock:
        thread = threading.Thread(target=writer.add_scalar, args=("loss", 0.5, 0))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        assert writer.path is None
    thread.join()
    assert writer.path is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"suffix": "a/b"}, "suffix='a/b'"),
        ({"flush_secs": -1}, "flush_secs=-1"),
        ({"flush_secs": math.nan}, "flush_secs=nan"),
        ({"buffer_bytes": 0}, "buffer_bytes=0"),
    ],
)
def test_impossible_arguments_are_reported_at_once(tmp_path, options, message):
    with pytest.raises(ConfigurationError, match=message):
        EventWriter(tmp_path, **options)


def test_an_impossible_start_step_is_reported_at_once(tmp_path):
    with pytest.raises(DataError, match="a step is an integer"):
        EventWriter(tmp_path, start_step=1.5)


def test_a_directory_may_be_a_string_and_is_made(tmp_path):
    with EventWriter(os.fspath(tmp_path / "a" / "b")) as writer:
        writer.add_scalar("loss", 0.5, 0)
    assert writer.path.parent == tmp_path / "a" / "b"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_a_directory_that_is_a_link_to_nothing_is_an_error_that_names_it(open_writer, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "scratch")
    with pytest.raises(FileNotFoundError, match=r"is a link to .*scratch', which is not there"):
        open_writer(tmp_path / "link").add_scalar("loss", 1.0, 0)


def test_a_file_in_the_place_of_the_directory_is_an_error_that_names_it(tmp_path):
    (tmp_path / "run").touch()
    for directory in (tmp_path / "run", tmp_path / "run" / "train"):
        with EventWriter(directory) as writer, pytest.raises(NotADirectoryError, match="run"):
            writer.add_scalar("loss", 0.5, 0)
