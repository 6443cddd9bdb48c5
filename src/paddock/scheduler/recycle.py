"""Runners that have come to hold more than their model explains are ended while nobody uses them. Pure.

Their footprint drifts: libraries leak, and an allocator keeps pages that it cannot use again. What counts is memory
that a process has taken since its load beside what its arrays have grown by, so a long context or kept prefixes are no
drift. The next request loads the model anew. Never a busy model, and never a pinned one, whose user asked that no
request waits for a load.
"""

from __future__ import annotations

from collections.abc import Iterator

from paddock.memory.estimate import MIB, gigabytes
from paddock.protocol import MemoryTerms
from paddock.scheduler.actions import StopReason, StopRunner
from paddock.scheduler.state import Resident, State
from paddock.scheduler.transitions import stop

DRIFT_SHARE = 0.25
"""Of what it held after its load; a drift that is no larger is no reason for another load …"""
DRIFT_BYTES = 256 * MIB
"""… and neither is one that is not larger than this."""


def drift_bytes(ready: MemoryTerms, now: MemoryTerms) -> int:
    """What a process has taken since it became ready that its arrays do not explain; 0 if it has taken nothing."""
    arrays_grew_by = _array_bytes(now) - _array_bytes(ready)
    return max(0, now.private_bytes - ready.private_bytes - max(0, arrays_grew_by))


def _array_bytes(memory: MemoryTerms) -> int:
    return memory.active_bytes + memory.cache_bytes


def recycle(state: State, now: float) -> Iterator[StopRunner]:
    """End those that have drifted and that nobody uses or waits for."""
    for resident in list(state.residents.values()):
        is_unused = resident.is_idle and not resident.is_pinned and resident.key not in state.queues
        if is_unused and _has_drifted(resident) and now - resident.ready_since >= state.policy.settled_seconds:
            drift = gigabytes(resident.drift_bytes)
            why = f"it holds {drift} more than after its load, which its model does not explain"
            yield stop(state, resident, StopReason.DRIFT, why)


def _has_drifted(resident: Resident) -> bool:
    return resident.drift_bytes > max(DRIFT_BYTES, DRIFT_SHARE * resident.ready_bytes)
