"""Trainings that were recorded, read back from whatever they left behind."""

from callboard.recorded.reading import read_recording, read_recordings
from callboard.recorded.recording import Recording

__all__ = ["Recording", "read_recording", "read_recordings"]
