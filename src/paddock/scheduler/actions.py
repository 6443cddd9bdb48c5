"""What is to be done: the scheduler's decisions, with their reasons, for the service to perform."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from paddock.errors import PaddockError
from paddock.scheduler.order import LoadOrder


@dataclass(frozen=True)
class StartRunner:
    """Load a model. Answered by Ready or LoadFailed, or by Stopped if StopRunner comes first."""

    key: str
    generation: int
    order: LoadOrder
    pool_id: str
    require_full: bool
    """Others are loaded: refuse a partial fit rather than start it."""
    why: str
    runners: int = 0
    """That share the processors from here on, this one included; 0 where an accelerator does the work."""


class StopReason(StrEnum):
    """Why runners are ended, as words to count by."""

    KEEP_ALIVE = "keep_alive"
    """Nobody used it for as long as it was to stay."""
    UNWANTED = "unwanted"
    """All who waited for its load have left."""
    ROOM = "room"
    """Another model needs its memory or its place."""
    OPTIONS = "options"
    """The next request needs it loaded with others."""
    SHORTAGE = "shortage"
    """The machine's memory is below the reserve."""
    DRIFT = "drift"
    """It holds more than its model explains."""
    RETRY = "retry"
    """Another model's load ran out of memory and is tried again."""
    CLOSING = "closing"
    """The server ends."""


@dataclass(frozen=True)
class StopRunner:
    """End a runner, also while it loads. Answered by Stopped."""

    key: str
    generation: int
    why: str
    reason: StopReason


@dataclass(frozen=True)
class ShrinkCaches:
    """Have a runner give back what it keeps only to be faster. Nothing answers: the next figures tell."""

    key: str
    generation: int
    keep_bytes: int
    why: str


@dataclass(frozen=True)
class Grant:
    """Lend the waiter a lease on this runner."""

    waiter_id: int
    key: str
    generation: int
    waited_seconds: float
    """0 if the runner was there for it when it came."""


@dataclass(frozen=True)
class Reject:
    """End the waiter's wait with an error."""

    waiter_id: int
    key: str
    error: PaddockError
    name: str
    """Of the model that it waited for, as people know it."""


@dataclass(frozen=True)
class Postpone:
    """Nothing is to be done: the waiter goes on waiting, for a reason that is new."""

    waiter_id: int
    key: str
    why: str


@dataclass(frozen=True)
class ArmTimer:
    """Send TimerFired at this time of the monotonic clock, in place of any earlier arming."""

    at: float


Action = StartRunner | StopRunner | ShrinkCaches | Grant | Reject | Postpone | ArmTimer
