"""The wire types of GET /api/status."""

from __future__ import annotations

import msgspec


class CloudStatus(msgspec.Struct, kw_only=True, frozen=True):
    """Ollama's own field of this answer: whether anything is asked of servers elsewhere."""

    disabled: bool = True
    source: str = "config"


class StatusAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """GET /api/status: what an operator wants to know. Nothing in it is taken from a plan: all of it was seen."""

    status: str
    """ok | degraded"""
    version: str
    uptime_seconds: float
    problems: tuple[str, ...]
    """Why it is degraded, a sentence each."""
    queue: QueueStatus
    runners: tuple[RunnerStatus, ...]
    memory: tuple[PoolStatus, ...]
    store: StoreStatus
    cloud: CloudStatus = CloudStatus()
    spare: SpareStatus
    breakers: tuple[BreakerStatus, ...]
    """Of models that crashed lately."""
    decisions: tuple[DecisionStatus, ...]
    """The scheduler's last ones, newest first."""


class QueueStatus(msgspec.Struct, kw_only=True, frozen=True):
    """Requests that wait for a model."""

    waiting: int
    limit: int
    oldest_seconds: float
    reasons: dict[str, str]
    """By model: why it is not loaded yet."""


class RunnerStatus(msgspec.Struct, kw_only=True, frozen=True):
    """One runner process."""

    model: str
    digest: str
    state: str
    """loading | ready | stopping"""
    progress: float
    """Share of its load that is done."""
    last_moved_seconds: float | None
    """Since its work last moved; null while it has not answered yet."""
    tokens: int
    """Generated since its start."""
    active_requests: int
    waiting_requests: int
    context_length: int
    parallel: int
    size: int
    """Bytes that it holds; in main memory with the pages that it shares with others."""
    held: int
    """Bytes that it alone is seen to hold: what admission counts."""
    promised: int
    """Bytes set aside for it, whatever it holds now."""


class PoolStatus(msgspec.Struct, kw_only=True, frozen=True):
    """One memory: main memory, or an accelerator's."""

    id: str
    total: int
    free: int
    """As far as models may have it."""
    reserve: int
    """Kept for the system."""
    promised: int
    """Set aside for models, whatever they hold now."""
    held: int
    """What models are seen to hold."""


class SpareStatus(msgspec.Struct, kw_only=True, frozen=True):
    """The process that waits for the next model to be loaded."""

    state: str
    """off | absent | present"""
    size: int
    """Bytes that it holds."""


class BreakerStatus(msgspec.Struct, kw_only=True, frozen=True):
    """Whether a model that crashed lately, with one set of options, is started again."""

    model: str
    state: str
    """closed | open | half_open"""
    crashes: int
    """Within the window."""
    retry_seconds: float
    """Until it may be started again; 0 if it may be now."""
    cause: str
    """Of the last crash."""


class DecisionStatus(msgspec.Struct, kw_only=True, frozen=True):
    """One decision of the scheduler, with its reason."""

    what: str
    """start | stop | shrink | postpone | reject"""
    model: str
    why: str
    seconds_ago: float


class StoreStatus(msgspec.Struct, kw_only=True, frozen=True):
    """The store of models."""

    is_readable: bool
    is_writable: bool
    free: int
    """Bytes on its disk."""
