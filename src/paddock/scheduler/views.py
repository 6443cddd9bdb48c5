"""What can be seen of the residents from outside: a copy, taken at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from paddock.scheduler.state import Lifecycle, Resident
from paddock.supervisor.model_server import MemorySize

if TYPE_CHECKING:
    from paddock.store.library import StoredModel

_LONGEST_SECONDS = 100 * 365 * 86_400.0


@dataclass(frozen=True)
class ResidentView:
    """One runner."""

    model: StoredModel
    size_bytes: int
    """As measured when it was ready; before that, as estimated."""
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


def view(resident: Resident, memory: MemorySize | None, pid: int, now: float) -> ResidentView:
    """A resident as it is at `now`, on the scheduler's clock."""
    return ResidentView(
        model=resident.order.model,
        size_bytes=(memory.total_bytes if memory else 0) or resident.order.need.total_bytes,
        device_bytes=memory.device_bytes if memory else 0,
        context_length=resident.order.options.num_ctx,
        expires_at=_expires_at(resident, now),
        state=resident.lifecycle.value,
        pid=pid,
        active_requests=len(resident.leases),
    )


def _expires_at(resident: Resident, now: float) -> datetime | None:
    remaining_seconds = resident.expires_at - now if resident.is_idle else resident.keep_alive_seconds
    if resident.lifecycle is Lifecycle.STOPPING:
        remaining_seconds = 0.0
    if math.isinf(remaining_seconds) or remaining_seconds > _LONGEST_SECONDS:
        return None
    return datetime.now(UTC) + timedelta(seconds=remaining_seconds)
