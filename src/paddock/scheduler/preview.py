"""What would become of a load if it were asked for now. Pure, and it changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from paddock.memory.fit import Evict, Fits, MustWait, NeverFits, Pool, Verdict, decide
from paddock.scheduler.order import LoadOrder
from paddock.scheduler.state import State


@dataclass(frozen=True)
class Preview:
    """The same answer that the scheduler would act on."""

    order: LoadOrder
    """With what it would be started with, which may be less than asked where nobody fixed it."""
    asked: LoadOrder
    verdict: Verdict
    victims: tuple[str, ...]
    """Names of the models that would be evicted for it."""
    pool: Pool | None
    """Where it would live."""
    is_loaded: bool
    """Whether it is there already, with options that will do."""


def preview(state: State, asked: LoadOrder, now: float) -> Preview:
    """The verdict on an order among all that is loaded now; its own runner, which it would replace, not counted."""
    resident = state.residents.get(asked.key)
    if resident and asked.is_met_by(resident.order.options):
        pool = state.allowed_supply().pool(resident.pool_id)
        return Preview(resident.order, asked, Fits(resident.pool_id), (), pool, is_loaded=True)
    holdings = [holding for holding in state.holdings(now) if holding.key != asked.key]
    supply, most = state.allowed_supply(), state.policy.max_loaded_models
    order, verdict = asked, decide(asked.ask, supply, holdings, most)
    if isinstance(verdict, NeverFits):
        for lower in asked.lowered():
            attempt = decide(lower.ask, supply, holdings, most)
            if not isinstance(attempt, NeverFits):
                order, verdict = lower, attempt
                break
    names = {holding.key: holding.name for holding in holdings}
    victims = tuple(names[key] for key in verdict.victims) if isinstance(verdict, Evict) else ()
    wants_accelerator = order.ask.wants_accelerator and supply.has_accelerator
    usable = [pool for pool in supply.pools if (pool.has_accelerator if wants_accelerator else pool.has_cpu)]
    pool = supply.pool(verdict.pool_id) if isinstance(verdict, Fits) else next(iter(usable), None)
    return Preview(order, asked, verdict, victims, pool, is_loaded=False)


def word_of(verdict: Verdict) -> str:
    """fits | evicts | waits | never"""
    match verdict:
        case Fits():
            return "fits"
        case Evict():
            return "evicts"
        case MustWait():
            return "waits"
        case NeverFits():
            return "never"
