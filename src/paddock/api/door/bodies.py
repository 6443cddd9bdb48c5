"""How many bytes the bodies of all requests may have together, while these are served. It knows no HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from paddock.errors import Busy

FREE_BYTES = 64 * 1024
"""Of each body, which do not count: large ones keep nobody out who only asks a question."""
_AGAIN_SECONDS = 1.0
_FULL = "The bodies of the requests that are being served are as large together as they may be: try again in a moment."


class Bodies:
    """All of one server. Used from one event loop alone."""

    def __init__(self, most_bytes: int = 0) -> None:
        """`most_bytes` of 0 is no limit."""
        self._most_bytes = most_bytes
        self.held_bytes = 0
        """By all of them, without what does not count."""

    @contextmanager
    def hold(self) -> Iterator[BodyHold]:
        """What one request's body takes, until the request has ended."""
        held = BodyHold(self)
        try:
            yield held
        finally:
            self.held_bytes -= held.counted_bytes

    def take(self, size_bytes: int) -> None:
        """So much more. Busy where that would be too much."""
        if self._most_bytes and self.held_bytes + size_bytes > self._most_bytes:
            raise Busy(_FULL, _AGAIN_SECONDS)
        self.held_bytes += size_bytes


class BodyHold:
    """What the body of one request takes."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size_bytes = 0
        self.counted_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """So many more bytes of it came. Busy."""
        self._size_bytes += size_bytes
        more_bytes = max(0, self._size_bytes - FREE_BYTES) - self.counted_bytes
        self._bodies.take(more_bytes)
        self.counted_bytes += more_bytes
