import sys
import warnings
from pathlib import Path

import pytest

from callboard.events import read_records
from callboard.events.writer import EventWriter

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorboard.compat.proto.event_pb2 import Event


# Lets the tests of this folder import the server that stands beside them.
sys.path.insert(0, str(Path(__file__).parent))


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self, now: float = 1_700_000_000.25) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_writer(tmp_path, clock):
    """Open writers on one directory, and close them after the test."""
    writers = []

    def open_writer(directory=tmp_path / "run", **options):
        writer = EventWriter(directory, **{"clock": clock, **options})
        writers.append(writer)
        return writer

    yield open_writer
    for writer in writers:
        writer.close()


@pytest.fixture
def events():
    """Read the messages of an event file with TensorBoard's own classes."""
    return lambda path: [Event.FromString(payload) for payload in read_records(path)]
