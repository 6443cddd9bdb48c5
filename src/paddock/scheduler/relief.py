"""What is done when free memory falls below the watermark: caches shrink first, then idle models go. Pure.

Admission keeps the reserve free of all that was promised, so this happens when others on the machine take memory, or
when a model takes more than was foreseen. Never a busy model, and never a pinned one: no request asked for its memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from paddock.memory.estimate import gigabytes
from paddock.memory.fit import Pool
from paddock.scheduler.actions import Action, ShrinkCaches, StopReason
from paddock.scheduler.state import Lifecycle, Resident, State
from paddock.scheduler.transitions import stop

EFFECT_SECONDS = 1.0
"""What was done last gets this long to show in the figures before more is done."""
SHRINK_SECONDS = 10.0
"""Caches that have grown again are shrunk again after this time."""


def relieve(state: State, now: float) -> Iterator[Action]:
    """The next step in every pool that is short of memory."""
    supply = state.allowed_supply()
    for pool in supply.pools:
        if pool.free_bytes >= supply.reserve_bytes:
            state.shrunk_at.pop(pool.id, None)
        else:
            yield from _relieve(state, pool, now)


def next_look(state: State, now: float) -> Iterator[float]:
    """When the effect of what was done is to be looked at, if more can be done."""
    if any(_may_go(state, resident) for resident in state.residents.values()):
        for shrunk_at in state.shrunk_at.values():
            due = shrunk_at + EFFECT_SECONDS
            yield due if due > now else now + EFFECT_SECONDS


def _relieve(state: State, pool: Pool, now: float) -> Iterator[Action]:
    here = [resident for resident in state.residents.values() if resident.pool_id == pool.id]
    shrunk_at = state.shrunk_at.get(pool.id)
    why = f"free memory is {gigabytes(pool.free_bytes)}, below the reserve of {gigabytes(state.supply.reserve_bytes)}"
    if here and (shrunk_at is None or now - shrunk_at >= SHRINK_SECONDS):
        state.shrunk_at[pool.id] = now
        for resident in here:
            if resident.is_ready:
                yield ShrinkCaches(resident.key, resident.generation, 0, why)
    elif shrunk_at is not None and now - shrunk_at >= EFFECT_SECONDS and not _is_on_its_way(state, pool):
        candidates = [resident for resident in here if _may_go(state, resident)]
        if candidates:
            victim = min(candidates, key=lambda resident: resident.holding(now).reluctance)
            why = f"{why}, and it is the idle model that is missed least"
            yield stop(state, victim, StopReason.SHORTAGE, why)


def _is_on_its_way(state: State, pool: Pool) -> bool:
    stopping = any(
        resident.lifecycle is Lifecycle.STOPPING and resident.pool_id == pool.id
        for resident in state.residents.values()
    )
    return stopping or any(not entry.is_mostly_back and entry.pool_id == pool.id for entry in state.returning)


def _may_go(state: State, resident: Resident) -> bool:
    return resident.is_idle and not resident.is_pinned and resident.key not in state.queues
