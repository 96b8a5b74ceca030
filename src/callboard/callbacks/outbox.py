"""Messages sent in order by a thread of their own, so that training waits for none."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

__all__ = ["Outbox"]

_FIRST_PAUSE_S = 0.1


class Outbox:
    """Sends messages in the background, one after the other.

    Args:
        send: Sends one message. It raises to say that this failed.
        may_retry: Says of an error that ``send`` raised whether another attempt makes sense.
        retries: Further attempts for a message, with pauses of 0.1 s, 0.2 s, 0.4 s, ...
        limit: Messages that may wait; what comes when so many do is lost.

    Attributes:
        sent: Messages that were sent.
        lost: Messages that were not and will not be.
        error: Why the first of them was lost, or an empty string.

    Example:
        >>> arrived = []
        >>> outbox = Outbox(arrived.append, may_retry=lambda error: False)
        >>> outbox.put(b"one")
        >>> outbox.close(timeout_s=5)
        >>> arrived
        [b'one']
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        *,
        may_retry: Callable[[Exception], bool],
        retries: int = 2,
        limit: int = 100,
    ) -> None:
        self._send = send
        self._may_retry = may_retry
        self._retries = retries
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self._limit = limit
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.sent = 0
        self.lost = 0
        self.error = ""

    def put(self, message: bytes) -> None:
        """Have a message sent; returns at once."""
        if self._waiting.qsize() >= self._limit:
            self._lose(f"{self._limit} messages were waiting already")
            return
        self._waiting.put(message)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="callboard-outbox", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Send what waits, for so many seconds at most, and then leave the rest."""
        if self._thread is None:
            return
        self._waiting.put(None)
        self._thread.join(timeout_s)
        self._stop.set()
        if self._thread.is_alive():
            left = 1 + sum(message is not None for message in self._waiting.queue)
            self.error = self.error or f"no answer in the {timeout_s:g} s that the end waits for it"
            self.lost += left
        self._thread = None

    def _work(self) -> None:
        while not self._stop.is_set():
            message = self._waiting.get()
            if message is None:
                return
            self._deliver(message)

    def _deliver(self, message: bytes) -> None:
        for attempt in range(self._retries + 1):
            try:
                self._send(message)
            except Exception as error:  # noqa: BLE001 - of any library; it is reported, not raised
                if self._stop.is_set():  # counted by ``close``
                    return
                if attempt == self._retries or not self._may_retry(error):
                    self._lose(str(error) or type(error).__name__)
                    return
                self._stop.wait(_FIRST_PAUSE_S * 2**attempt)
            else:
                self.sent += not self._stop.is_set()
                return

    def _lose(self, reason: str) -> None:
        self.error = self.error or reason
        self.lost += 1
