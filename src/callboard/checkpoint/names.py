"""What is called what in a store's folder."""

from __future__ import annotations

import re

__all__ = ["ASIDE", "CHECKPOINT", "LEFTOVER", "LOCK", "MANIFEST", "STATE"]

MANIFEST, STATE, LOCK = "manifest.json", "state.json", ".lock"

CHECKPOINT = re.compile(r"step-(\d{8,})(?:-(\d+))?")
"""A checkpoint: its step and, if the step was saved again, which time it is."""

ASIDE = re.compile(r"damaged-step-\d{8,}")
"""How the name of a checkpoint begins that was found to be damaged."""

LEFTOVER = re.compile(r"\.(?:tmp|trash)-[A-Za-z0-9_.-]+")
"""What a process leaves that was killed while it saved or removed."""
