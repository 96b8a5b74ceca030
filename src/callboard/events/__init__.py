"""TensorBoard event files, without TensorFlow and without the tensorboard package."""

from callboard.events.records import read_records
from callboard.events.writer import EventWriter

__all__ = ["EventWriter", "read_records"]
