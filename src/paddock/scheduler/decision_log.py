"""What the scheduler decided, one structured line each."""

from __future__ import annotations

import logging

from paddock.scheduler import actions
from paddock.scheduler.actions import Action
from paddock.scheduler.state import State


def log_decision(log: logging.Logger, state: State, action: Action) -> None:
    """One line for each decision, with its reason."""
    match action:
        case actions.StartRunner(key, generation, wanted, pool_id, _, why):
            log.info(
                "event=start model=%s key=%.12s generation=%d pool=%s num_ctx=%d need=%d why=%r",
                *(wanted.name, key, generation, pool_id, wanted.options.num_ctx, wanted.need.total_bytes, why),
            )
        case actions.StopRunner(key, generation, why, reason):
            name = name_of(state, key)
            log.info("event=stop model=%s key=%.12s generation=%d reason=%s why=%r", name, key, generation, reason, why)
        case actions.ShrinkCaches(key, generation, keep_bytes, why):
            name = name_of(state, key)
            log.info(
                "event=shrink model=%s key=%.12s generation=%d keep=%d why=%r", name, key, generation, keep_bytes, why
            )
        case actions.Postpone(waiter_id, key, why):
            log.info("event=postpone waiter=%d key=%.12s why=%r", waiter_id, key, why)
        case actions.Reject(waiter_id, key, error, _):
            log.info("event=reject waiter=%d key=%.12s code=%s why=%r", waiter_id, key, error.code, error.message)
        case actions.Grant(waiter_id, key, generation, waited_seconds):
            log.debug(
                "event=grant waiter=%d key=%.12s generation=%d waited=%.3f", waiter_id, key, generation, waited_seconds
            )
        case actions.ArmTimer():
            pass


def name_of(state: State, key: str) -> str:
    """The name that people know a model by, as far as it is resident or somebody waits for it; else its key."""
    resident, queue = state.residents.get(key), state.queues.get(key)
    if resident:
        return resident.order.name
    return queue[0].order.name if queue else key
