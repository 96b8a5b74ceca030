"""Checkpoints that are whole and verified, or not there; model files that know no framework."""

from callboard.checkpoint.keep import Checkpoint, best, every, last
from callboard.checkpoint.store import CheckpointStore

__all__ = ["Checkpoint", "CheckpointStore", "best", "every", "last"]
