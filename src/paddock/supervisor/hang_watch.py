"""When a runner that has work and does not move is given up. Pure: times are given to it.

Only time in which the watcher itself was awake counts, in slices no longer than `longest_gap_seconds`: after a
machine has slept, or the whole group of processes stood still, nobody is to blame for the silence.
"""

from __future__ import annotations

from dataclasses import dataclass

from paddock.protocol import Activity, Health

UNKNOWN_LEASE_SECONDS = 120.0
"""What a runner gets that has not said yet how long its work may take: as long as the longest step of any kind."""


@dataclass(frozen=True)
class HangLimits:
    """Times in seconds."""

    grace_seconds: float = 2.0
    """Beyond the runner's own lease."""
    first_poll_seconds: float = 0.2
    """So soon after somebody begins to wait it is asked what its work is: most answers end before that."""
    poll_seconds: float = 1.0
    answer_seconds: float = 1.5
    """How long the answer to one poll is waited for before the wait counts as silence."""

    @property
    def longest_gap_seconds(self) -> float:
        return 2 * (self.poll_seconds + self.answer_seconds)


class HangWatch:
    """Counts how long one runner has stood still while somebody waited for it."""

    def __init__(self, limits: HangLimits, now: float) -> None:
        """Its counting starts now: somebody began to wait."""
        self._limits = limits
        self._seen_at = now
        self._still_seconds = 0.0
        self._beats = -1
        self._lease_seconds = UNKNOWN_LEASE_SECONDS
        self._activity = Activity.IDLE

    @property
    def verdict(self) -> str:
        """Why it is given up, as a clause; empty while it is not."""
        if self._still_seconds <= self._lease_seconds + self._limits.grace_seconds:
            return ""
        doing = "" if self._activity is Activity.IDLE else f" ({self._activity})"
        return f"hang, no progress for {self._still_seconds:.0f} seconds{doing}"

    def heard(self, health: Health, now: float) -> None:
        """It has answered a poll: a new beat, or nothing to do, begins the count anew."""
        if health.beats != self._beats or not health.active_requests:
            self._still_seconds = 0.0
            self._seen_at = now
        self._count(now)
        self._beats = health.beats
        self._activity = health.activity
        self._lease_seconds = health.lease_seconds or UNKNOWN_LEASE_SECONDS

    def silence(self, now: float) -> None:
        """It has not answered a poll."""
        self._count(now)

    def _count(self, now: float) -> None:
        self._still_seconds += min(max(0.0, now - self._seen_at), self._limits.longest_gap_seconds)
        self._seen_at = now
