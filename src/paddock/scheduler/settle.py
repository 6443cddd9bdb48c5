"""Brings the state to rest: grants, reloads, expiries and admissions, until nothing more follows. Pure.

Rules of fairness:
- Within a model, clients take turns, and each client's requests come in their order (`turns.py`). A request that needs
  other options than its runner has waits until those before it are through; those behind it wait for the runner that
  it gets.
- A runner is given as many requests as it serves at once and a few more; the others wait here, where they count.
- Between models, what fits now runs now. Each such step that goes past a model's longest waiter counts, be it a load or
  a lease on a runner that is in its way; after `max_overtaken` of them that waiter goes first: nothing that came later
  is loaded before it, and the runners in its way get no new leases until it has its place. So it waits at most for
  what came before it, for `max_overtaken` others, for the first requests of loads that end meanwhile, and for the
  requests that those runners have then: each of these ends when its context is full, or when its runner is seen to
  stand still.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from paddock.errors import NeverFits
from paddock.memory import fit
from paddock.memory.fit import decide
from paddock.scheduler.actions import Action, ArmTimer, Postpone, StopReason
from paddock.scheduler.order import LoadOrder
from paddock.scheduler.recycle import recycle
from paddock.scheduler.relief import next_look, relieve
from paddock.scheduler.retry import is_waiting_for_memory
from paddock.scheduler.state import Lifecycle, Resident, Retry, State, Waiter
from paddock.scheduler.transitions import attached, grant, reject, start, stop

UNWANTED_LOAD_SECONDS = 10.0
"""How long a load goes on after its last waiter has left."""
RETURN_POLL_SECONDS = 0.25
"""How often the memory of stopped runners is looked for, while somebody waits."""


def settle(state: State, now: float) -> list[Action]:
    """Do all that can be done now. What is left waits for an event that is sure to come, or for the timer."""
    actions: list[Action] = []
    while not state.is_closing:
        steps = [
            *_grants(state, now),
            *_reloads(state, now),
            *_expiries(state, now),
            *recycle(state, now),
            *_admissions(state, now),
            *relieve(state, now),
        ]
        actions += steps
        if not steps:
            break
    return actions + _timer(state, now)


def is_held_back(state: State, waiter: Waiter) -> bool:
    """Whether a lease has to wait because the model is in the way of an earlier request that was overtaken enough."""
    resident = state.residents.get(waiter.key)
    if resident and waiter.sequence < resident.ready_sequence:
        return False
    first = _starving(state)
    return first is not None and waiter.key in first.blocked_by and waiter.sequence > first.sequence


def _starving(state: State) -> Waiter | None:
    """Who goes first now: of those that were overtaken enough, the one that waits longest."""
    return next((head for head in state.cold_heads() if head.overtaken >= state.policy.max_overtaken), None)


def _grants(state: State, now: float) -> Iterator[Action]:
    for key in list(state.queues):
        resident = state.residents.get(key)
        if not resident or not resident.is_ready:
            continue
        for waiter in attached(state, resident):
            if is_held_back(state, waiter):
                break
            if resident.has_room_for(waiter, state.policy.lookahead):
                yield grant(state, waiter, resident, now)
                _count_overtaking(state, waiter, [head for head in state.cold_heads() if key in head.blocked_by])


def _count_overtaking(state: State, served: Waiter, heads: list[Waiter]) -> None:
    """Of all who wait behind these heads too: whoever is next once a head has left has waited as long."""
    for head in heads:
        for other in state.queues[head.key]:
            if other.sequence < served.sequence:
                other.overtaken += 1


def _reloads(state: State, now: float) -> Iterator[Action]:
    """Runners whose next request needs other options go as soon as they are idle, or at once while they load."""
    for waiter in list(state.heads()):
        resident = state.residents.get(waiter.key)
        if not resident or resident.lifecycle is Lifecycle.STOPPING:
            continue
        if waiter.order.is_met_by(resident.order.options):
            continue
        order, verdict = _best(state, waiter.order, now)
        if isinstance(verdict, fit.NeverFits):
            yield reject(state, waiter, NeverFits(verdict.why))
        elif refusal := state.refused.get(order.load):
            yield reject(state, waiter, refusal)
        elif not resident.leases:
            yield stop(state, resident, StopReason.OPTIONS, f"request {waiter.id} needs other options")


def _expiries(state: State, now: float) -> Iterator[Action]:
    for resident in list(state.residents.values()):
        is_wanted = resident.key in state.queues
        if resident.lifecycle is Lifecycle.LOADING:
            resident.unwanted_since = None if is_wanted else _earlier(resident.unwanted_since, now)
        if is_wanted or now < _ends_at(resident):
            continue
        if resident.is_ready:
            yield stop(state, resident, StopReason.KEEP_ALIVE, "its keep_alive is over")
        else:
            yield stop(state, resident, StopReason.UNWANTED, "nobody waits for it any more")


def _ends_at(resident: Resident) -> float:
    """When this runner is to be stopped if nothing happens before; infinity for never."""
    if resident.is_idle:
        return resident.expires_at
    if resident.lifecycle is Lifecycle.LOADING and resident.unwanted_since is not None:
        return resident.unwanted_since + min(UNWANTED_LOAD_SECONDS, resident.keep_alive_seconds)
    return math.inf


def _earlier(since: float | None, now: float) -> float:
    return now if since is None else since


def _admissions(state: State, now: float) -> Iterator[Action]:
    """Offer what memory there is to the models without a runner, the longest waiting first."""
    for waiter in state.cold_heads():
        first = _starving(state)
        if first and first.sequence < waiter.sequence:
            break
        retry = state.retries.get(waiter.key)
        if retry:
            yield from _retry(state, waiter, retry, now)
        else:
            yield from _admit(state, waiter, *_best(state, waiter.order, now), now)


def _best(state: State, wanted: LoadOrder, now: float) -> tuple[LoadOrder, fit.Verdict]:
    """What becomes of an order, lowered in what nobody fixed where it would never fit otherwise."""
    for lower in itertools.chain((wanted,), wanted.lowered()):
        verdict = _verdict(state, lower, now)
        if not isinstance(verdict, fit.NeverFits):
            break
    return lower, verdict


def _verdict(state: State, wanted: LoadOrder, now: float) -> fit.Verdict:
    return decide(wanted.ask, state.allowed_supply(), state.holdings(now), state.policy.max_loaded_models)


def _retry(state: State, waiter: Waiter, retry: Retry, now: float) -> Iterator[Action]:
    """Load again what ran out of memory, once there is room."""
    if not waiter.order.is_met_by(retry.order.options):
        del state.retries[waiter.key]  # those who had tried it have left
        yield from _admit(state, waiter, *_best(state, waiter.order, now), now)
        return
    verdict = _verdict(state, retry.order, now)
    if is_waiting_for_memory(state, retry):
        verdict = fit.MustWait("it ran out of memory while loading, and others are making room for it")
    elif isinstance(verdict, fit.NeverFits):
        yield reject(state, waiter, retry.error)
        return
    yield from _admit(state, waiter, retry.order, verdict, now, is_retry=True)


def _admit(
    state: State, waiter: Waiter, order: LoadOrder, verdict: fit.Verdict, now: float, *, is_retry: bool = False
) -> Iterator[Action]:
    if (refusal := state.refused.get(order.load)) and not isinstance(verdict, fit.NeverFits):
        yield reject(state, waiter, refusal)  # before anybody has to go for it
        return
    before, waiter.postponed = waiter.postponed, verdict if isinstance(verdict, fit.MustWait) else None
    match verdict:
        case fit.Fits(pool_id):
            state.retries.pop(waiter.key, None)
            yield start(state, waiter, order, pool_id, now, is_retry=is_retry)
            _count_overtaking(state, waiter, state.cold_heads())
        case fit.Evict(victims):
            for key in victims:
                why = f"{waiter.order.name} needs its memory or its place"
                yield stop(state, state.residents[key], StopReason.ROOM, why)
        case fit.MustWait(why):
            if verdict != before:  # whoever it no longer waits for may go on: another round
                yield Postpone(waiter.id, waiter.key, why)
        case fit.NeverFits(why):
            yield reject(state, waiter, NeverFits(why))


def _timer(state: State, now: float) -> list[Action]:
    """Arm the timer if something is due before it would fire. One that fires for nothing does no harm."""
    due = min(_deadlines(state, now), default=math.inf)
    if math.isinf(due) or (state.timer_at is not None and state.timer_at <= due):
        return []
    state.timer_at = due
    return [ArmTimer(due)]


def _deadlines(state: State, now: float) -> Iterator[float]:
    for resident in state.residents.values():
        if resident.key not in state.queues:
            yield _ends_at(resident)
    yield from next_look(state, now)
    for entry in state.returning:
        yield min(entry.until, now + RETURN_POLL_SECONDS) if state.queues else entry.until
