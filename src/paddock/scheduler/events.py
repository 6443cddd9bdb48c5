"""What happened, as the scheduler's decisions hear of it. Each carries `now`, in seconds of a monotonic clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paddock.errors import PaddockError
from paddock.memory.fit import Supply
from paddock.scheduler.order import Load, LoadOrder


@dataclass(frozen=True)
class Requested:
    """Somebody waits for a lease."""

    now: float
    waiter_id: int
    order: LoadOrder
    keep_alive_seconds: float | None = None
    """None: the default for a new runner, unchanged for a loaded one."""
    takes_slot: bool = True
    """False for one that gives its runner nothing to do: it only wants the model to be there."""
    client: str = ""
    """Who asks: clients take turns, requests of one client come in their order."""


@dataclass(frozen=True)
class Cancelled:
    """Somebody went away, whether they still waited or had just been granted a lease."""

    now: float
    waiter_id: int


@dataclass(frozen=True)
class Released:
    """A lease was given back. A lease has the id of the waiter that it was granted to."""

    now: float
    waiter_id: int


@dataclass(frozen=True)
class Ready:
    """A load ended well; the runner holds this much memory."""

    now: float
    key: str
    generation: int
    held_bytes: int


@dataclass(frozen=True)
class LoadFailed:
    """A load ended badly, and its process is gone."""

    now: float
    key: str
    generation: int
    error: PaddockError


@dataclass(frozen=True)
class Exited:
    """A runner that was ready ended by itself."""

    now: float
    key: str
    generation: int
    reason: str


@dataclass(frozen=True)
class Stopped:
    """A runner that was asked to stop is gone."""

    now: float
    key: str
    generation: int


@dataclass(frozen=True)
class UnloadAsked:
    """A user wants a model to go as soon as it is idle."""

    now: float
    key: str


@dataclass(frozen=True)
class MemoryChanged:
    """Fresh figures: the system's, and what is known of runners and loads at this moment."""

    now: float
    supply: Supply
    held_bytes: Mapping[int, int] = field(default_factory=dict)
    """What runners were seen to hold, by generation."""
    drift_bytes: Mapping[int, int] = field(default_factory=dict)
    """What they have taken since their load that nothing explains, by generation."""
    refused: Mapping[Load, PaddockError] = field(default_factory=dict)
    """Loads that are not to be tried now, because such a runner keeps crashing."""


@dataclass(frozen=True)
class TimerFired:
    """The time of the last ArmTimer has come."""

    now: float


@dataclass(frozen=True)
class ShutdownAsked:
    """The server closes."""

    now: float


Event = (
    Requested
    | Cancelled
    | Released
    | Ready
    | LoadFailed
    | Exited
    | Stopped
    | UnloadAsked
    | MemoryChanged
    | TimerFired
    | ShutdownAsked
)
