"""The second chance of a load that ran out of memory: with less, and after others have made room. Pure.

The estimate was wrong, so the decision does not rest on it alone: everybody idle goes, what nobody fixed is lowered as
far as it may be, and the load starts when the memory of those who went is back. It fails at once where there is nothing
to win that way, and for good the second time.
"""

from __future__ import annotations

from collections.abc import Iterator

from paddock.errors import PaddockError
from paddock.scheduler.actions import StopReason, StopRunner
from paddock.scheduler.state import Lifecycle, Resident, Retry, Returning, State
from paddock.scheduler.transitions import attached, stop


def give_second_chance(state: State, failed: Resident, error: PaddockError) -> list[StopRunner] | None:
    """Plan the second attempt and stop who must go for it; None where there is none.

    `failed` is no longer among the residents' living, but still knows what it was started with.
    """
    if failed.is_retry or not attached(state, failed):
        return None
    victims = _victims(state, failed)
    leaving = [other for other in state.residents.values() if other.lifecycle is Lifecycle.STOPPING]
    lowered = list(failed.order.lowered())
    if not (victims or leaving or lowered):
        return None
    after = frozenset(other.generation for other in [*victims, *leaving] if other is not failed)
    state.retries[failed.key] = Retry(lowered[-1] if lowered else failed.order, after, error)
    why = f"{failed.order.name} ran out of memory while it was loading"
    return [stop(state, victim, StopReason.RETRY, why) for victim in victims]


def _victims(state: State, failed: Resident) -> list[Resident]:
    """The idle ones of its pool; those that are pinned only where there are no others."""
    idle = [other for other in state.residents.values() if other.is_idle and other.pool_id == failed.pool_id]
    return [other for other in idle if not other.is_pinned] or idle


def is_waiting_for_memory(state: State, retry: Retry) -> bool:
    """Whether those who make room for it are still going, or their memory is not back. Both end by themselves."""
    is_going = any(resident.generation in retry.after for resident in state.residents.values())
    return is_going or any(not entry.is_mostly_back for entry in _returning(state, retry))


def _returning(state: State, retry: Retry) -> Iterator[Returning]:
    return (entry for entry in state.returning if entry.generation in retry.after)
