"""What can be seen of the residents from outside: a copy, taken at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from paddock.memory.estimate import Need
from paddock.memory.observed import peak_of
from paddock.protocol import Health, MemoryTerms
from paddock.scheduler.state import Lifecycle, Resident, State
from paddock.supervisor.model_server import MemorySize, RunnerOptions

if TYPE_CHECKING:
    from paddock.store.library import StoredModel

_LONGEST_SECONDS = 100 * 365 * 86_400.0


@dataclass(frozen=True)
class ResidentView:
    """One runner."""

    model: StoredModel
    size_bytes: int
    """As last measured; before it is ready, as estimated."""
    device_bytes: int
    """The part on accelerators."""
    context_length: int
    expires_at: datetime | None
    """When it is unloaded if no request comes from now on; the past or now if it is going; None for never."""
    state: str
    """loading | ready | stopping"""
    pid: int
    """-1 while there is no process."""
    active_requests: int
    waiting_requests: int
    generation: int
    options: RunnerOptions
    """In force now, which may be less than was asked where nobody fixed it."""
    need: Need
    """As promised to it, in terms."""
    pool_id: str
    health: Health | None
    """What it last said of itself."""
    peak_bytes: int = 0
    """Most that it ever held; 0 while that is not known."""
    peak_foreseen_bytes: int = 0
    """What was foreseen for as far as it has come; 0 while it has done nothing."""
    held_bytes: int = 0
    """What admission counts as missing from its pool because of it."""
    key: str = ""
    """By which it can be unloaded: the model's digest, but of a conversion."""


@dataclass(frozen=True)
class QueueView:
    """Who waits for a lease."""

    waiting: int
    most: int
    """What may wait; the next is refused."""
    oldest_seconds: float
    """0 if nobody waits."""
    reasons: dict[str, str]
    """By the name of the model, why its first waiter still waits, where there is something to say."""


def queue_view(state: State, now: float) -> QueueView:
    """The queues as they are at `now`."""
    heads = list(state.heads())
    return QueueView(
        waiting=state.waiting,
        most=state.policy.max_queue,
        oldest_seconds=max((now - waiter.since for queue in state.queues.values() for waiter in queue), default=0.0),
        reasons={head.order.name: head.postponed.why for head in heads if head.postponed},
    )


def place_of(state: State, waiter_id: int) -> int | None:
    """Which of those who wait for its model a request is, 1 being the next. None if it does not wait, or for nobody but
    its own model's load."""
    for key, queue in state.queues.items():
        for place, waiter in enumerate(queue, start=1):
            if waiter.id == waiter_id:
                resident = state.residents.get(key)
                has_company = place > (_fitting(resident, state.policy.lookahead) if resident else 1)
                is_kept_out = resident.is_ready if resident else waiter.postponed is not None
                return place if has_company or is_kept_out else None
    return None


def _fitting(resident: Resident, lookahead: int) -> int:
    """Requests that a runner is given as soon as it is ready."""
    return resident.order.options.parallel + lookahead


def view(
    resident: Resident, waiting: int, memory: MemorySize | None, pid: int, health: Health | None, now: float
) -> ResidentView:
    """A resident as it is at `now`, on the scheduler's clock."""
    terms = health.memory if health else MemoryTerms()
    need = resident.order.need
    foreseen = resident.order.foreseen_peak(terms)
    return ResidentView(
        model=resident.order.model,
        size_bytes=(memory.total_bytes if memory else 0) or resident.order.need.total_bytes,
        device_bytes=memory.device_bytes if memory else 0,
        context_length=resident.order.options.num_ctx,
        expires_at=_expires_at(resident, now),
        state=resident.lifecycle.value,
        pid=pid,
        active_requests=len(resident.leases),
        waiting_requests=waiting,
        generation=resident.generation,
        options=resident.order.options,
        need=resident.order.need,
        pool_id=resident.pool_id,
        health=health,
        peak_bytes=peak_of(terms, need),
        peak_foreseen_bytes=foreseen.total_bytes if foreseen else 0,
        held_bytes=resident.held_bytes,
        key=resident.key,
    )


def _expires_at(resident: Resident, now: float) -> datetime | None:
    remaining_seconds = resident.expires_at - now if resident.is_idle else resident.keep_alive_seconds
    if resident.lifecycle is Lifecycle.STOPPING:
        remaining_seconds = 0.0
    if math.isinf(remaining_seconds) or remaining_seconds > _LONGEST_SECONDS:
        return None
    return datetime.now(UTC) + timedelta(seconds=remaining_seconds)
