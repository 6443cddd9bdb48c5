"""Whether a runner that keeps crashing may be started again: a pure state machine; times are given to it.

state      crash                                     asked to start             healthy for a while
CLOSED     -> OPEN at the n-th within the window     allowed                    forgets its crashes
OPEN       (cannot happen: nothing runs)             -> HALF_OPEN when the      -
                                                     pause is over, else no
HALF_OPEN  -> OPEN, for twice as long                allowed                    -> CLOSED, first pause again
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

_NEVER = -1.0


class BreakerState(enum.StrEnum):
    """What a breaker does with the next start."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


TRANSITIONS: Mapping[BreakerState, frozenset[BreakerState]] = {
    BreakerState.CLOSED: frozenset({BreakerState.OPEN}),
    BreakerState.OPEN: frozenset({BreakerState.HALF_OPEN}),
    BreakerState.HALF_OPEN: frozenset({BreakerState.OPEN, BreakerState.CLOSED}),
}


@dataclass(frozen=True)
class BreakerLimits:
    """When a breaker opens, and for how long. Times are seconds."""

    crashes: int = 3
    """So many within the window open it; 0 never does."""
    window_seconds: float = 60.0
    pause_seconds: float = 10.0
    """The first pause; each crash after one doubles it."""
    longest_pause_seconds: float = 600.0
    healthy_seconds: float = 60.0
    """A runner that served so long without a crash is well again."""


class Breaker:
    """The record of one model with one set of options."""

    def __init__(self, limits: BreakerLimits) -> None:
        self._limits = limits
        self._state = BreakerState.CLOSED
        self._crashes: tuple[float, ...] = ()
        self._pause_seconds = limits.pause_seconds
        self._open_until = _NEVER
        self._ready_since = _NEVER
        self.name = ""
        """Of the model, as it was called last."""
        self.cause = ""
        """Why it crashed last, as a clause."""

    @property
    def state(self) -> BreakerState:
        return self._state

    def recent_count(self, now: float) -> int:
        """Crashes within the window that ends now. Asking changes nothing."""
        return len(self._recent(now))

    def remaining_seconds(self, now: float) -> float:
        """Of its pause; 0 if it is not open. Asking changes nothing."""
        return max(0.0, self._open_until - now) if self._state is BreakerState.OPEN else 0.0

    def is_forgettable(self, now: float) -> bool:
        """Whether it behaves like a new one."""
        self._recover(now)
        return self._state is BreakerState.CLOSED and not self._recent(now)

    def wait_seconds(self, now: float) -> float:
        """How long a start has to wait; 0 allows it, and is the trial of a breaker whose pause is over."""
        self._recover(now)
        if self._state is BreakerState.OPEN:
            if now < self._open_until:
                return self._open_until - now
            self._enter(BreakerState.HALF_OPEN)
        return 0.0

    def ready(self, now: float) -> None:
        """A runner has loaded its model."""
        self._recover(now)
        self._ready_since = now

    def stopped(self, now: float) -> None:
        """A runner ended because it was asked to."""
        self._recover(now)
        self._ready_since = _NEVER

    def crashed(self, now: float, cause: str) -> None:
        """A runner ended by itself, or had to be killed."""
        self._recover(now)
        self._ready_since = _NEVER
        self.cause = cause
        self._crashes = (*self._recent(now), now)
        if self._state is BreakerState.HALF_OPEN:
            self._pause_seconds = min(self._pause_seconds * 2, self._limits.longest_pause_seconds)
            self._open(now)
        elif self._state is BreakerState.CLOSED and 0 < self._limits.crashes <= len(self._crashes):
            self._open(now)

    def _open(self, now: float) -> None:
        self._open_until = now + self._pause_seconds
        self._enter(BreakerState.OPEN)

    def _recent(self, now: float) -> tuple[float, ...]:
        return tuple(at for at in self._crashes if now - at < self._limits.window_seconds)

    def _recover(self, now: float) -> None:
        """Forget everything once a runner has been ready for long enough."""
        if self._ready_since < 0 or now - self._ready_since < self._limits.healthy_seconds:
            return
        self._crashes, self._pause_seconds = (), self._limits.pause_seconds
        if self._state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.CLOSED)

    def _enter(self, state: BreakerState) -> None:
        assert state in TRANSITIONS[self._state], f"{self._state} -> {state}"
        self._state = state
