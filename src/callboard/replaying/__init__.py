"""What callbacks would have decided on a run that is recorded."""

from callboard.replaying.replay import Replay, replay

__all__ = ["Replay", "replay"]
