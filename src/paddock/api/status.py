"""GET /api/status: how the server is, from what is seen at this moment. It never waits for a model's work."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from paddock import __version__
from paddock.api.metrics.seen import pool_bytes
from paddock.api.models import json_response
from paddock.api.services import services_of
from paddock.api.status_schemas import (
    BreakerStatus,
    DecisionStatus,
    PoolStatus,
    QueueStatus,
    RunnerStatus,
    SpareStatus,
    StatusAnswer,
    StoreStatus,
)
from paddock.memory.fit import Supply
from paddock.scheduler.history import Decision
from paddock.scheduler.service import QueueView, ResidentView
from paddock.supervisor.views import BreakerView

_LEAST_DISK_BYTES = 1024**3
_LONGEST_WAIT_SECONDS = 600.0


async def status(request: Request) -> Response:
    """GET /api/status: how the server is."""
    services = services_of(request)
    await services.scheduler.look()
    store = await asyncio.to_thread(_store, services.config.models)
    scheduler, stable = services.scheduler, services.stable()
    queue, residents = scheduler.queue(), scheduler.residents()
    breakers = [row for row in stable.breakers if services.shows(row.model)]
    history = scheduler.history()
    problems = (*_problems(store, queue), *(_breaker_problem(row) for row in breakers if row.retry_seconds))
    answer = StatusAnswer(
        status="degraded" if problems else "ok",
        version=__version__,
        uptime_seconds=round(time.monotonic() - services.began, 1),
        problems=problems,
        queue=QueueStatus(
            waiting=queue.waiting,
            limit=queue.most,
            oldest_seconds=round(queue.oldest_seconds, 3),
            reasons=queue.reasons,
        ),
        runners=tuple(map(_runner, services.residents())),
        memory=_pools(scheduler.supply(), residents),
        store=store,
        spare=SpareStatus(state=stable.spare.state, size=stable.spare.held_bytes),
        breakers=tuple(map(_breaker, breakers)),
        decisions=tuple(
            _decision(row, history.now) for row in reversed(history.decisions) if services.shows(row.model)
        ),
    )
    return json_response(answer)


def _runner(row: ResidentView) -> RunnerStatus:
    health = row.health
    return RunnerStatus(
        model=row.model.name.display,
        digest=row.model.digest,
        state=row.state,
        progress=health.progress if health else 0.0,
        last_moved_seconds=round(health.idle_seconds, 3) if health else None,
        tokens=health.tokens if health else 0,
        active_requests=row.active_requests,
        waiting_requests=row.waiting_requests,
        context_length=row.context_length,
        parallel=row.options.parallel,
        size=row.size_bytes,
        held=row.held_bytes,
        promised=row.need.total_bytes,
    )


def _pools(supply: Supply, residents: Sequence[ResidentView]) -> tuple[PoolStatus, ...]:
    found = []
    for pool in supply.pools:
        promised, held = pool_bytes(pool.id, residents)
        found.append(
            PoolStatus(
                id=pool.id,
                total=pool.total_bytes,
                free=max(0, pool.free_bytes),
                reserve=supply.reserve_bytes,
                promised=promised,
                held=held,
            )
        )
    return tuple(found)


def _breaker(row: BreakerView) -> BreakerStatus:
    return BreakerStatus(
        model=row.model,
        state=row.state,
        crashes=row.crashes,
        retry_seconds=round(row.retry_seconds, 3),
        cause=row.cause,
    )


def _breaker_problem(row: BreakerView) -> str:
    return f"The model '{row.model}' keeps crashing and is not started again for {row.retry_seconds:.0f} seconds."


def _decision(row: Decision, now: float) -> DecisionStatus:
    return DecisionStatus(what=row.what, model=row.model, why=row.why, seconds_ago=round(now - row.at, 3))


def _store(folder: Path) -> StoreStatus:
    """As the system says, without writing: a check that runs often must not wear the disk."""
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError:
        return StoreStatus(is_readable=False, is_writable=False, free=0)
    return StoreStatus(
        is_readable=os.access(folder, os.R_OK | os.X_OK),
        is_writable=os.access(folder, os.W_OK | os.X_OK),
        free=free_bytes,
    )


def _problems(store: StoreStatus, queue: QueueView) -> tuple[str, ...]:
    found = {
        "The store cannot be read.": not store.is_readable,
        "The store cannot be written.": store.is_readable and not store.is_writable,
        "The disk of the store is nearly full.": store.is_readable and store.free < _LEAST_DISK_BYTES,
        "The queue is full.": queue.waiting >= max(1, queue.most),
        "A request has waited for ten minutes.": queue.oldest_seconds > _LONGEST_WAIT_SECONDS,
    }
    return tuple(sentence for sentence, is_so in found.items() if is_so)
