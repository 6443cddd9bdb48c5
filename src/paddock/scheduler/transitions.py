"""The steps that decisions are made of: each changes the state and returns the action that belongs to it. Pure."""

from __future__ import annotations

from paddock.errors import PaddockError
from paddock.scheduler.actions import Grant, Reject, StartRunner, StopReason, StopRunner
from paddock.scheduler.order import LoadOrder
from paddock.scheduler.state import Lifecycle, Resident, State, Waiter


def find_lease(state: State, waiter_id: int) -> Resident | None:
    """The runner that this lease is on."""
    return next((resident for resident in state.residents.values() if waiter_id in resident.leases), None)


def attached(state: State, resident: Resident) -> list[Waiter]:
    """The waiters that this runner will serve: those before the first that needs other options."""
    found = []
    for waiter in state.queues.get(resident.key, ()):
        if not waiter.order.is_met_by(resident.order.options):
            break
        found.append(waiter)
    return found


def grant(state: State, waiter: Waiter, resident: Resident, now: float) -> Grant:
    """Lend a lease."""
    state.remove_waiter(waiter)
    resident.leases.add(waiter.id)
    if not waiter.takes_slot:
        resident.visits.add(waiter.id)
    if waiter.keep_alive_seconds is not None:
        resident.keep_alive_seconds = waiter.keep_alive_seconds
    return Grant(waiter.id, resident.key, resident.generation, now - waiter.since)


def reject(state: State, waiter: Waiter, error: PaddockError) -> Reject:
    """End a wait with an error."""
    state.remove_waiter(waiter)
    return Reject(waiter.id, waiter.key, error, waiter.order.name)


def start(
    state: State, waiter: Waiter, order: LoadOrder, pool_id: str, now: float, *, is_retry: bool = False
) -> StartRunner:
    """Load the model that this waiter needs; `order` may be less than it asked for. The load belongs to the scheduler:
    the waiter may leave it, and its keep_alive counts only once it is served."""
    resident = Resident(
        key=waiter.key,
        generation=state.next_generation,
        order=order,
        is_retry=is_retry,
        pool_id=pool_id,
        keep_alive_seconds=state.policy.keep_alive_seconds,
        idle_since=now,
    )
    state.next_generation += 1
    has_company = bool(state.residents)
    state.residents[resident.key] = resident
    return StartRunner(
        key=resident.key,
        generation=resident.generation,
        order=resident.order,
        pool_id=pool_id,
        require_full=has_company,
        why=f"request {waiter.id} waits for it and it {'may fit now' if is_retry else 'fits'}"
        f"{order.changes_from(waiter.order)}",
        runners=_sharers(state, resident),
    )


def _sharers(state: State, resident: Resident) -> int:
    """How many runners divide the processors' threads among them once this one, known by now, is there.

    Each keeps the part that it was started with: one that is loaded alone may use them all for as long as it lives.
    """
    staying = [other for other in state.residents.values() if other.lifecycle is not Lifecycle.STOPPING]
    return sum(_is_on_processors(state, other) for other in staying) if _is_on_processors(state, resident) else 0


def _is_on_processors(state: State, resident: Resident) -> bool:
    pool = state.supply.pool(resident.pool_id)
    return pool is None or not pool.has_accelerator or resident.order.options.num_gpu == 0


def stop(state: State, resident: Resident, reason: StopReason, why: str) -> StopRunner:
    """End a runner. It is never revived: whoever wants it from here on waits for its end and a new load."""
    resident.move(Lifecycle.STOPPING)
    resident.room_before = state.room_bytes(resident.pool_id)
    return StopRunner(resident.key, resident.generation, why, reason)
