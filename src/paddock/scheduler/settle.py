"""Brings the state to rest: grants, reloads, expiries and admissions, until nothing more follows. Pure.

Rules of fairness:
- Within a model, first come first served. A request that needs other options than its runner has waits until those
  before it are through; those behind it wait for the runner that it gets.
- Between models, what fits now runs now. Each such step that goes past a model's longest waiter counts, be it a load or
  a lease on a runner that is in its way; after `max_overtaken` of them that waiter goes first: nothing that came later
  is loaded before it, and the runners in its way get no new leases until it has its place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from paddock.errors import NeverFits
from paddock.memory import fit
from paddock.memory.fit import decide
from paddock.scheduler.actions import Action, ArmTimer, Postpone
from paddock.scheduler.state import Lifecycle, Resident, State, Waiter
from paddock.scheduler.transitions import grant, reject, start, stop

UNWANTED_LOAD_SECONDS = 10.0
"""How long a load goes on after its last waiter has left."""
RETURN_POLL_SECONDS = 0.25
"""How often the memory of stopped runners is looked for, while somebody waits."""


def settle(state: State, now: float) -> list[Action]:
    """Do all that can be done now. What is left waits for an event that is sure to come, or for the timer."""
    actions: list[Action] = []
    while not state.is_closing:
        steps = [*_grants(state, now), *_reloads(state, now), *_expiries(state, now), *_admissions(state, now)]
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
        while resident and resident.is_ready and key in state.queues:
            waiter = state.queues[key][0]
            if not waiter.order.is_met_by(resident.order.options) or is_held_back(state, waiter):
                break
            yield grant(state, waiter, resident, now)
            _count_overtaking(state, waiter, [head for head in state.cold_heads() if key in head.blocked_by])


def _count_overtaking(state: State, served: Waiter, others: list[Waiter]) -> None:
    for other in others:
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
        verdict = decide(waiter.order.ask, state.supply, state.holdings(now), state.policy.max_loaded_models)
        if isinstance(verdict, fit.NeverFits):
            yield reject(state, waiter, NeverFits(verdict.why))
        elif not resident.leases:
            yield stop(state, resident, f"request {waiter.id} needs other options")


def _expiries(state: State, now: float) -> Iterator[Action]:
    for resident in list(state.residents.values()):
        is_wanted = resident.key in state.queues
        if resident.lifecycle is Lifecycle.LOADING:
            resident.unwanted_since = None if is_wanted else _earlier(resident.unwanted_since, now)
        if is_wanted or now < _ends_at(resident):
            continue
        why = "its keep_alive is over" if resident.is_ready else "nobody waits for it any more"
        yield stop(state, resident, why)


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
        verdict = decide(waiter.order.ask, state.supply, state.holdings(now), state.policy.max_loaded_models)
        yield from _admit(state, waiter, verdict, now)


def _admit(state: State, waiter: Waiter, verdict: fit.Verdict, now: float) -> Iterator[Action]:
    before, waiter.postponed = waiter.postponed, verdict if isinstance(verdict, fit.MustWait) else None
    match verdict:
        case fit.Fits(pool_id):
            yield start(state, waiter, pool_id, now)
            _count_overtaking(state, waiter, state.cold_heads())
        case fit.Evict(victims):
            for key in victims:
                yield stop(state, state.residents[key], f"{waiter.order.name} needs its memory or its place")
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
    for entry in state.returning:
        yield min(entry.until, now + RETURN_POLL_SECONDS) if state.queues else entry.until
