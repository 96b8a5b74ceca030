import contextlib
import errno
import itertools
import os
import re
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from callboard._core import fs
from callboard.events import Node, file, read_records
from callboard.events.records import framed


def steps(path, events):
    return [event.step for event in events(path) if event.HasField("summary")]


def whole_bytes(path):
    return sum(len(framed(payload)) for payload in read_records(path))


def number(writer):
    return int(writer.path.name.split(".")[3])


def wrote(writer):
    writer.add_scalar("loss", 0.5, 0)
    return writer


class TestName:
    def test_it_is_the_one_that_tensorboard_looks_for(self, open_writer, clock):
        writer = wrote(open_writer(suffix=".v2"))
        pattern = rf"events\.out\.tfevents\.{int(clock.now)}\..+\.{os.getpid()}\.\d+\.v2"
        assert re.fullmatch(pattern, writer.path.name)

    def test_two_writers_in_one_second_have_two_files_in_order(self, open_writer):
        first, second = wrote(open_writer()), wrote(open_writer())
        assert first.path != second.path
        assert first.path.name < second.path.name

    def test_it_goes_on_when_the_clock_goes_back(self, open_writer, clock):
        first = wrote(open_writer())
        clock.now -= 86_400
        second = wrote(open_writer())
        clock.now += 2 * 86_400
        third = wrote(open_writer())
        assert number(second) == number(first) + 1
        assert number(third) == int(clock.now)

    def test_files_of_other_writers_count_and_other_names_do_not(self, open_writer, tmp_path):
        run = tmp_path / "run"
        run.mkdir()
        (run / "events.out.tfevents.1800000000.other-host.77.0.v2").touch()
        (run / "events.out.tfevents.notes.txt").touch()
        (run / "events.out.tfevents.99.host").touch()
        (run / "checkpoint.9999999999").touch()
        assert number(wrote(open_writer())) == 1_800_000_001

    def test_it_keeps_ten_digits(self, open_writer, tmp_path, clock):
        run = tmp_path / "run"
        run.mkdir()
        (run / "events.out.tfevents.9999999999.host").touch()
        assert number(wrote(open_writer())) == 9_999_999_999

    def test_an_existing_file_is_never_opened(self, open_writer, monkeypatch):
        monkeypatch.setattr(file, "_last_number", lambda directory: -1)
        monkeypatch.setattr(file, "_count", itertools.count(5))
        first = wrote(open_writer())
        first.close()
        size = first.path.stat().st_size
        monkeypatch.setattr(file, "_count", itertools.count(5))
        second = wrote(open_writer())
        second.close()
        assert second.path != first.path
        assert first.path.stat().st_size == size


class TestFlushing:
    def test_records_wait_in_memory_until_flushed(self, open_writer, events):
        writer = wrote(open_writer())
        assert writer.path.stat().st_size == writer.offset == 0
        writer.flush()
        assert steps(writer.path, events) == [0]
        assert writer.path.stat().st_size == writer.offset > 0

    def test_memory_is_bounded(self, open_writer):
        writer = open_writer(buffer_bytes=1000)
        sizes = []
        for step in range(100):
            writer.add_scalar("loss", 0.5, step)
            sizes.append(writer.path.stat().st_size)
        assert sizes[-1] > 3000
        assert max(b - a for a, b in itertools.pairwise(sizes)) < 1100

    def test_a_record_that_comes_late_flushes_those_before_it(self, open_writer, clock, events):
        writer = wrote(open_writer(flush_secs=10))
        clock.now += 9.5
        writer.add_scalar("loss", 0.5, 1)
        assert steps(writer.path, events) == []
        clock.now += 1
        writer.add_scalar("loss", 0.5, 2)
        assert steps(writer.path, events) == [0, 1]
        clock.now += 9.5
        writer.add_scalar("loss", 0.5, 3)
        assert steps(writer.path, events) == [0, 1]

    def test_a_clock_that_was_set_back_does_not_stop_flushing(self, open_writer, clock, events):
        writer = wrote(open_writer(flush_secs=10))
        clock.now -= 3600
        writer.add_scalar("loss", 0.5, 1)
        assert steps(writer.path, events) == [0]
        clock.now += 11
        writer.add_scalar("loss", 0.5, 2)
        assert steps(writer.path, events) == [0, 1]

    @pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
    @pytest.mark.parametrize("flushed", [True, False])
    def test_after_it_was_removed_another_one_is_begun(self, flushed, open_writer, events):
        writer = wrote(open_writer())
        if flushed:
            writer.flush()
        first = writer.path
        first.unlink()
        first.parent.rmdir()
        writer.add_scalar("loss", 0.5, 1)
        with pytest.warns(RuntimeWarning, match=f"{first.name}' was removed while it was written"):
            writer.flush()
        assert steps(writer.path, events) == ([1] if flushed else [0, 1])
        assert events(writer.path)[0].file_version
        assert sum(bool(event.file_version) for event in events(writer.path)) == 1
        assert writer.path.stat().st_size == writer.offset
        assert writer.path.name > first.name

    def test_sync_flushes_and_syncs_the_file(self, open_writer, events, monkeypatch):
        synced = []
        monkeypatch.setattr(fs, "sync", lambda file: synced.append(os.fstat(file.fileno()).st_size))
        writer = wrote(open_writer())
        writer.sync()
        assert synced == [writer.offset]
        assert steps(writer.path, events) == [0]

    def test_an_error_of_sync_names_the_file(self, open_writer, monkeypatch):
        def broken(file):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(fs, "sync", broken)
        writer = wrote(open_writer())
        with pytest.raises(OSError, match="tfevents") as caught:
            writer.sync()
        assert caught.value.errno == errno.EIO
        assert caught.value.filename == str(writer.path)

    def test_a_process_that_is_killed_leaves_what_was_flushed(self, tmp_path, events):
        script = textwrap.dedent("""
            import os, signal, sys
            from callboard.events import EventWriter
            writer = EventWriter(sys.argv[1])
            for step in range(50):
                writer.add_scalar("loss", 0.5, step)
                if step == 39:
                    writer.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        """)
        done = subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
        assert done.returncode == -signal.SIGKILL
        (path,) = tmp_path.iterdir()
        assert steps(path, events) == list(range(40))


KINDS = {
    "histogram": lambda writer: writer.add_histogram("h", np.arange(9.0), 1),
    "text": lambda writer: writer.add_text("t", "words", 1),
    "image": lambda writer: writer.add_image("i", np.zeros((8, 8)), 1),
    "audio": lambda writer: writer.add_audio("a", np.zeros(9), 1),
    "curve": lambda writer: writer.add_pr_curve("c", [0, 1], [0.1, 0.9], 1),
    "hyperparameters": lambda writer: writer.add_hparams({"rate": 0.1}),
    "layout": lambda writer: writer.add_custom_scalars({"a": {"b": ["c"]}}),
    "graph": lambda writer: writer.add_graph([Node("x", "Input")]),
    "layers of Keras": lambda writer: writer.add_keras_model("{}"),
}


class FullDisk:
    """An unbuffered file on a disk with room for so many bytes."""

    def __init__(self, raw, room):
        self.raw, self.room, self.can_truncate = raw, room, True

    def write(self, data):
        left = self.room - self.raw.tell()
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.raw.write(bytes(data[:left]))

    def truncate(self, size):
        if not self.can_truncate:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.raw.truncate(size)

    def __getattr__(self, name):
        return getattr(self.raw, name)


@pytest.fixture
def disk(open_writer):
    """Return a writer of small records and the disk below it."""
    writer = open_writer(buffer_bytes=1)
    wrote(writer).flush()
    writer._file._file = FullDisk(writer._file._file, room=10**6)
    return writer, writer._file._file


class TestFullDisk:
    def test_it_is_raised_to_the_caller_with_the_name_of_the_file(self, disk):
        writer, full = disk
        full.room = writer.offset
        writer.add_scalar("loss", 0.5, 1)
        with pytest.raises(OSError, match="No space left") as caught:
            writer.flush()
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(writer.path)

    def test_the_file_ends_with_a_whole_record(self, disk, events):
        writer, full = disk
        full.room = writer.offset + 100
        writer.add_scalars({f"tag/{n}": 0 for n in range(20)}, 1)
        with pytest.raises(OSError, match="No space left"):
            writer.flush()
        assert writer.path.stat().st_size == writer.offset == whole_bytes(writer.path)
        assert steps(writer.path, events) == [0]

    @pytest.mark.parametrize("can_truncate", [True, False])
    @pytest.mark.parametrize("room", [0, 1, 40, 90, 130])
    def test_everything_taken_is_written_once_when_there_is_room(
        self, open_writer, events, room, can_truncate
    ):
        writer = open_writer()
        wrote(writer).flush()
        before = writer.offset
        writer.add_scalar("loss", 0.5, 1)
        writer.flush()
        record = writer.offset - before
        writer._file._file = full = FullDisk(writer._file._file, writer.offset + room)
        full.can_truncate = can_truncate
        for step in range(2, 6):
            writer.add_scalar("loss", 0.5, step)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                writer.flush()
        assert steps(writer.path, events) == list(range(2 + room // record))
        writer.add_scalar("loss", 0.5, 6)
        full.room = 10**6
        writer.flush()
        assert steps(writer.path, events) == list(range(7))
        assert writer.path.stat().st_size == writer.offset

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_record_of_any_kind_is_written_when_there_is_room(self, open_writer, events, kind):
        writer = open_writer()
        wrote(writer).flush()
        writer._file._file = full = FullDisk(writer._file._file, writer.offset + 20)
        KINDS[kind](writer)
        with pytest.raises(OSError, match="No space left"):
            writer.flush()
        assert writer.path.stat().st_size == writer.offset == whole_bytes(writer.path)
        assert steps(writer.path, events) == [0]
        full.room = 10**6
        writer.flush()
        _, _, *found = events(writer.path)  # behind the version and the first scalar
        assert [e for e in found if e.graph_def or e.summary.value]

    def test_a_call_that_raises_has_added_nothing_and_memory_is_bounded(self, disk, events):
        writer, full = disk
        full.room = writer.offset
        writer.add_scalar("loss", 0.5, 1)
        for step in range(2, 100):
            with pytest.raises(OSError, match="No space left"):
                writer.add_scalar("loss", 0.5, step)
        assert len(writer._file._buffer) < 100
        full.room = 10**6
        writer.add_scalar("loss", 0.5, 100)
        writer.close()
        assert steps(writer.path, events) == [0, 1, 100]

    def test_close_raises_what_was_not_raised_before(self, disk):
        writer, full = disk
        full.room = writer.offset
        writer.add_scalar("loss", 0.5, 1)
        with pytest.raises(OSError, match="No space left"):
            writer.close()
        assert full.closed
        writer.close()

    def test_close_does_not_raise_the_same_again(self, disk):
        writer, full = disk
        full.room = writer.offset
        writer.add_scalar("loss", 0.5, 1)
        with pytest.raises(OSError, match="No space left"):
            writer.flush()
        writer.close()
        assert full.closed

    def test_it_does_not_replace_the_error_of_the_block(self, disk):
        writer, full = disk
        full.room = writer.offset
        writer.add_scalar("loss", 0.5, 1)
        with pytest.raises(KeyError) as caught, writer:
            raise KeyError
        assert "No space left" in caught.value.__notes__[0]

    def test_it_is_raised_at_the_end_of_a_block_without_error(self, disk):
        writer, full = disk
        full.room = writer.offset
        with pytest.raises(OSError, match="No space left"), writer:
            writer.add_scalar("loss", 0.5, 1)

    def test_what_ctrl_c_cut_off_is_written_again_in_its_place(self, disk, events, monkeypatch):
        writer, full = disk
        writer.add_scalar("loss", 0.5, 1)

        def interrupted(data):
            full.raw.write(bytes(data[:10]))
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(full, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                writer.flush()
        writer.flush()
        assert steps(writer.path, events) == [0, 1]

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
    def test_a_real_limit_of_the_system_is_survived(self, tmp_path, events):
        script = textwrap.dedent("""
            import errno, resource, sys
            from callboard.events import EventWriter
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
            failed = []
            with EventWriter(sys.argv[1], buffer_bytes=3_001) as writer:
                for step in range(1000):
                    try:
                        writer.add_scalar("loss", 0.5, step)
                    except OSError as error:
                        assert error.errno == errno.EFBIG
                        assert error.filename == str(writer.path)
                        assert writer.path.stat().st_size == writer.offset <= 10_000
                        failed.append(step)
                    if step == 500:
                        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            print(*failed)
        """)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, tmp_path],
            capture_output=True,
            text=True,
            check=True,
        )
        failed = set(map(int, done.stdout.split()))
        assert 100 < len(failed) < 500
        assert max(failed) == 500
        (path,) = tmp_path.iterdir()
        assert steps(path, events) == [step for step in range(1000) if step not in failed]


@contextlib.contextmanager
def files_of(size):
    """Let no file become larger than so many bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_embedding_that_cannot_be_written_leaves_the_one_before(open_writer, tmp_path):
    writer = open_writer()
    images = np.zeros((3, 8, 8, 3), "u1")
    writer.add_embedding("points", np.eye(3), metadata=["a", "b", "c"], images=images)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("run/*")}
    assert {"projector_config.pbtxt", "embedding-points.tsv"} <= before.keys()
    with files_of(100), pytest.raises(OSError, match="File too large"):
        writer.add_embedding("points", np.ones((90, 9)))
    with files_of(100), pytest.raises(OSError, match="File too large"):
        writer.add_embedding("more", np.ones((90, 9)))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("run/*")} == before
