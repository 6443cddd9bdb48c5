"""The scheduler's decisions: an event in, actions out. Pure, and the only code that changes the state.

Every event first changes the facts that it is about; `settle` then brings everything to rest again, whatever the event
was. Nothing waits for one particular event, so no event that is lost, late or overtaken can leave a waiter behind.
"""

from __future__ import annotations

from typing import assert_never

from paddock.errors import Busy, Cancelled, OutOfMemory, PaddockError, RunnerDied, ServerClosing
from paddock.scheduler import events
from paddock.scheduler.actions import Action, Reject, StopReason, StopRunner
from paddock.scheduler.events import Event
from paddock.scheduler.order import LoadOrder
from paddock.scheduler.retry import give_second_chance
from paddock.scheduler.settle import is_held_back, settle
from paddock.scheduler.state import RETURN_SECONDS, Lifecycle, Resident, Returning, State, Waiter
from paddock.scheduler.transitions import attached, find_lease, reject, stop
from paddock.scheduler.turns import line_up, most_crowding

_BUSY = "The server is busy: the maximum of pending requests is exceeded, please try again."
_RETRY_AFTER_SECONDS = 5.0


def handle(state: State, event: Event) -> list[Action]:
    """Take an event into the state and return what is to be done, in this order."""
    return [*_take_in(state, event), *settle(state, event.now)]


def needs_figures(state: State, event: Event) -> bool:
    """Whether the decisions on this event want fresh figures of memory (`MemoryChanged`) before it.

    Not if it only lends or returns a lease, or waits for one of a runner that is there, which is nearly always.
    """
    match event:
        case events.Requested():
            return not _is_for_ready_runner(state, event.order) or _somebody_waits_for_memory(state)
        case events.Released() | events.Cancelled():
            return _somebody_waits_for_memory(state)
        case events.MemoryChanged():
            return False
        case _:
            return True


def _somebody_waits_for_memory(state: State) -> bool:
    return any(not _is_for_ready_runner(state, head.order) for head in state.heads())


def _is_for_ready_runner(state: State, order: LoadOrder) -> bool:
    resident = state.residents.get(order.key)
    return resident is not None and resident.is_ready and order.is_met_by(resident.order.options)


def _take_in(state: State, event: Event) -> list[Action]:  # noqa: C901 - a table of events
    match event:
        case events.Requested():
            return _requested(state, event)
        case events.Cancelled():
            return _cancelled(state, event)
        case events.Released():
            return _release(state, event.waiter_id, event.now)
        case events.Ready():
            return _ready(state, event)
        case events.LoadFailed():
            return _failed(state, event, event.error)
        case events.Exited():
            return _failed(state, event, RunnerDied(event.reason))
        case events.Stopped():
            return _stopped(state, event)
        case events.UnloadAsked():
            return _unload(state, event.key)
        case events.MemoryChanged():
            return _remember_figures(state, event)
        case events.TimerFired():
            state.timer_at = None
            return []
        case events.ShutdownAsked():
            return _shut_down(state)
        case _:
            assert_never(event)


def _requested(state: State, event: events.Requested) -> list[Action]:
    if state.is_closing:
        return [Reject(event.waiter_id, event.order.key, _closing(), event.order.name)]
    rejections: list[Action] = []
    if state.waiting >= max(1, state.policy.max_queue) and not _can_be_granted(state, event):
        busy, crowding = Busy(_BUSY, _RETRY_AFTER_SECONDS), most_crowding(state, event.client)
        if crowding is None:
            return [Reject(event.waiter_id, event.order.key, busy, event.order.name)]
        rejections = [reject(state, crowding, busy)]
    line_up(state.queues.setdefault(event.order.key, []), _waiter(state, event))
    state.next_sequence += 1
    return rejections


def _waiter(state: State, event: events.Requested) -> Waiter:
    return Waiter(
        id=event.waiter_id,
        sequence=state.next_sequence,
        order=event.order,
        keep_alive_seconds=event.keep_alive_seconds,
        since=event.now,
        takes_slot=event.takes_slot,
        client=event.client,
    )


def _can_be_granted(state: State, event: events.Requested) -> bool:
    """Whether the request would be served at once."""
    resident, waiter = state.residents.get(event.order.key), _waiter(state, event)
    if not resident or not _is_for_ready_runner(state, event.order) or is_held_back(state, waiter):
        return False
    before = state.queues.get(event.order.key, [])
    is_next = not event.takes_slot and len(attached(state, resident)) == len(before)
    return (is_next or not before) and resident.has_room_for(waiter, state.policy.lookahead)


def _cancelled(state: State, event: events.Cancelled) -> list[Action]:
    """Forget a waiter, or take back the lease that it was granted a moment ago."""
    for queue in state.queues.values():
        for waiter in queue:
            if waiter.id == event.waiter_id:
                return [reject(state, waiter, Cancelled("The request was cancelled."))]
    return _release(state, event.waiter_id, event.now)


def _release(state: State, waiter_id: int, now: float) -> list[Action]:
    """A lease of a runner that is gone, or that was returned already, is no longer known: nothing to do."""
    resident = find_lease(state, waiter_id)
    if resident:
        resident.leases.remove(waiter_id)
        resident.visits.discard(waiter_id)
        resident.idle_since = now
    return []


def _ready(state: State, event: events.Ready) -> list[Action]:
    resident = state.resident(event.key, event.generation)
    if resident and resident.lifecycle is Lifecycle.LOADING:
        resident.move(Lifecycle.READY)
        resident.ready_bytes = resident.held_bytes = event.held_bytes
        served_first = attached(state, resident)[: resident.order.options.parallel + state.policy.lookahead]
        resident.ready_sequence = 1 + max((waiter.sequence for waiter in served_first), default=-1)
        resident.idle_since = resident.ready_since = event.now
    return []


def _failed(state: State, event: events.LoadFailed | events.Exited, error: PaddockError) -> list[Action]:
    """A runner ended unasked. Those who waited for its load get the error; leases end with their own streams."""
    resident = state.resident(event.key, event.generation)
    if not resident or resident.lifecycle is Lifecycle.STOPPING:
        return []
    was_loading = resident.lifecycle is Lifecycle.LOADING
    resident.room_before = state.room_bytes(resident.pool_id)
    _remove(state, resident, event.now)
    if not was_loading:
        return []
    stops = give_second_chance(state, resident, error) if isinstance(error, OutOfMemory) else None
    if stops is not None:
        return [*stops]
    return [reject(state, waiter, error) for waiter in attached(state, resident)]


def _stopped(state: State, event: events.Stopped) -> list[Action]:
    resident = state.resident(event.key, event.generation)
    if resident and resident.lifecycle is Lifecycle.STOPPING:
        _remove(state, resident, event.now)
    return []


def _remove(state: State, resident: Resident, now: float) -> None:
    """Forget a runner that is gone, but not the memory that the system may still count as taken."""
    resident.move(Lifecycle.GONE)
    resident.leases.clear()
    resident.visits.clear()
    del state.residents[resident.key]
    entry = Returning(
        name=resident.order.name,
        generation=resident.generation,
        pool_id=resident.pool_id,
        expected_bytes=resident.held_bytes,
        room_before=resident.room_before,
        until=now + RETURN_SECONDS,
    )
    state.returning.append(entry)
    _update_returning(state, now)


def _unload(state: State, key: str) -> list[Action]:
    """As a keep_alive of 0 from now on: it goes when it is idle, unless a later request asks for another."""
    resident = state.residents.get(key)
    if resident:
        resident.keep_alive_seconds = 0.0
    return []


def _remember_figures(state: State, event: events.MemoryChanged) -> list[Action]:
    state.supply, state.refused = event.supply, event.refused
    for resident in state.residents.values():
        resident.drift_bytes = event.drift_bytes.get(resident.generation, 0)
        measured_bytes = event.held_bytes.get(resident.generation, 0)
        if resident.lifecycle is not Lifecycle.STOPPING:
            resident.held_bytes = max(resident.ready_bytes, measured_bytes)
    _update_returning(state, event.now)
    return []


def _update_returning(state: State, now: float) -> None:
    """What is back is free memory like any other; what is not back in time is not ours to wait for."""
    for entry in state.returning:
        entry.missing_bytes = min(entry.expected_bytes, entry.room_before - state.room_bytes(entry.pool_id))
    state.returning = [entry for entry in state.returning if entry.missing_bytes > 0 and now < entry.until]


def _shut_down(state: State) -> list[Action]:
    state.is_closing = True
    waiters = [waiter for queue in state.queues.values() for waiter in queue]
    rejections = [reject(state, waiter, _closing()) for waiter in waiters]
    return [*rejections, *_stop_all(state)]


def _stop_all(state: State) -> list[StopRunner]:
    going = [resident for resident in state.residents.values() if resident.lifecycle is not Lifecycle.STOPPING]
    return [stop(state, resident, StopReason.CLOSING, "the server closes") for resident in going]


def _closing() -> ServerClosing:
    return ServerClosing("The server is shutting down: try again when it is back.")
