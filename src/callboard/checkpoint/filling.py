"""How far memory is filled, for a thread that reads behind the one that fills it."""

from __future__ import annotations

import sys
import threading

__all__ = ["AbandonedError", "Filling"]


class AbandonedError(Exception):
    """What is waited for will never be there, as the one who fills the memory has failed."""


class Filling:
    """How much of a piece of memory has its content, from its beginning on.

    Args:
        size: Length of the memory in bytes.

    Example:
        >>> filling = Filling(100)
        >>> filling.advance(60)
        >>> filling.wait_for(50)  # returns at once
        >>> filling.abandon()
        >>> filling.wait_for(70)
        Traceback (most recent call last):
        callboard.checkpoint.filling.AbandonedError: filled up to byte 60 of 100
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._end = 0
        self._wanted = sys.maxsize  # the nearest byte that somebody waits for
        self._abandoned = False
        self._condition = threading.Condition()

    def advance(self, end: int) -> None:
        """Say that it is filled up to this byte."""
        with self._condition:
            self._end = end
            if end >= self._wanted:  # waking for less would take the lock from the copying thread
                self._wanted = sys.maxsize
                self._condition.notify_all()

    def abandon(self) -> None:
        """Say that no more will come."""
        with self._condition:
            self._abandoned = True
            self._condition.notify_all()

    def wait_for(self, end: int) -> None:
        """Return when it is filled up to this byte.

        Raises:
            AbandonedError: If it never will be.
        """
        with self._condition:
            while self._end < end:
                if self._abandoned:
                    raise AbandonedError(f"filled up to byte {self._end} of {self._size}")
                self._wanted = min(self._wanted, end)
                self._condition.wait()
