"""TensorBoard event files, without TensorFlow and without the tensorboard package."""

from callboard._core.graph import Node
from callboard.events.records import read_records
from callboard.events.writer import EventWriter

__all__ = ["EventWriter", "Node", "read_records"]
