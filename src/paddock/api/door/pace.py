"""How slowly a client may send and read: what is known of one connection, and whether its time is over. Pure.

Only what the client owes is counted: while the server itself does not read, or works on an answer, no time runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """Of a connection, by whose turn it is."""

    HEAD = "head"
    """The client is to send the line and the headers of a request."""
    BODY = "body"
    """The client is to send the rest of a body."""
    ANSWER = "answer"
    """The server is to answer."""
    REST = "rest"
    """It has answered a request whose body it does not want to the end."""
    IDLE = "idle"
    """Between two requests."""
    CLOSING = "closing"
    """The server has closed it, and the client is to take what is left."""


_ASKED = frozenset({Phase.BODY, Phase.ANSWER, Phase.REST, Phase.IDLE, Phase.CLOSING})
_AGAIN = _ASKED | {Phase.HEAD}
TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.HEAD: _ASKED,
    Phase.BODY: _AGAIN,
    Phase.ANSWER: _AGAIN,
    Phase.REST: _AGAIN,
    Phase.IDLE: frozenset({Phase.HEAD, Phase.CLOSING}),
    Phase.CLOSING: frozenset(),
}
"""What comes at once may be a whole request, or the end of one and the begin of the next. Nothing follows the end."""


@dataclass(frozen=True)
class Limits:
    """Of every connection."""

    head_seconds: float = 15.0
    """From the first byte of a request, or from the connection, to the end of its headers."""
    body_idle_seconds: float = 30.0
    """Without a byte of a body."""
    body_bytes_per_second: float = 1024.0
    """On average, once `body_idle_seconds` are over."""
    stalled_seconds: float = 60.0
    """Without the client taking any of an answer, while much of it waits."""
    rest_seconds: float = 5.0
    """For a body that nobody wants any more, and for what is left to send on a connection that is closed."""
    idle_seconds: float = 75.0


@dataclass
class Pace:
    """What one connection has done. Times are seconds of one monotonic clock."""

    since: float
    """Begin of the phase, without the time that was ours."""
    phase: Phase = Phase.HEAD
    last_at: float = 0.0
    """When the last byte came, or the server last did not want one."""
    body_bytes: int = 0
    stalled_since: float | None = None

    def enter(self, phase: Phase, now: float) -> None:
        """The phase is now this one; nothing begins anew where it was already."""
        if phase is self.phase:
            return
        assert phase in TRANSITIONS[self.phase], f"{self.phase} -> {phase}"
        self.phase, self.since, self.last_at, self.body_bytes = phase, now, now, 0

    def received(self, size_bytes: int, now: float) -> None:
        """Bytes came."""
        self.last_at = now
        self.body_bytes += size_bytes

    def excuse(self, seconds: float) -> None:
        """So much of the time until now was the server's own."""
        self.since += seconds
        self.last_at += seconds

    def stalled(self, now: float) -> None:
        """The client does not take what is sent."""
        self.stalled_since = self.stalled_since if self.stalled_since is not None else now

    def flows(self) -> None:
        """It takes it again."""
        self.stalled_since = None


def is_overdue(pace: Pace, limits: Limits, now: float) -> bool:
    """Whether the connection has to end."""
    if pace.stalled_since is not None and now - pace.stalled_since > limits.stalled_seconds:
        return True
    spent = now - pace.since
    match pace.phase:
        case Phase.HEAD:
            return spent > limits.head_seconds
        case Phase.BODY:
            return _is_too_slow(pace, limits, now)
        case Phase.REST | Phase.CLOSING:
            return spent > limits.rest_seconds
        case Phase.IDLE:
            return spent > limits.idle_seconds
        case Phase.ANSWER:
            return False


def _is_too_slow(pace: Pace, limits: Limits, now: float) -> bool:
    spent = now - pace.since
    if now - pace.last_at > limits.body_idle_seconds:
        return True
    return spent > limits.body_idle_seconds and pace.body_bytes < spent * limits.body_bytes_per_second
