"""Conversions of models, as loads of the scheduler: its rules of memory, of waiting and of room count for them too.

A conversion is a runner whose load is the work. So the lease on it is granted when the work is done, and until then it
is a load like any other: admitted on what it will need, never evicted, ended when nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paddock.memory.conversion import conversion_need
from paddock.protocol.conversion import ENGINE
from paddock.scheduler.order import LoadOrder, LoadWish
from paddock.scheduler.service import Scheduler
from paddock.supervisor.model_server import RunnerOptions

if TYPE_CHECKING:
    from paddock.store.library import StoredModel

LOOK_SECONDS = 0.2
"""How often it is looked how far a conversion is."""
GONE_SECONDS = 20.0
"""How long the process of one that was given up may take to end before its folder is taken away all the same."""


@dataclass(frozen=True)
class Work:
    """What a conversion is, as far as the scheduler needs to know."""

    model: StoredModel
    """Its name is shown; its facts say how large its tensors are."""
    folder: Path
    """Where the order lies, and where the result will."""
    adapter_bytes: int = 0
    num_gpu: int = -1
    """0 keeps it off accelerators."""


def order_of(work: Work, *, on_accelerator: bool) -> LoadOrder:
    """The order of a conversion, which is like no other load."""
    facts = work.model.facts
    need = conversion_need(facts.largest_tensor_bytes, work.adapter_bytes, on_accelerator=on_accelerator)
    own_facts = replace(facts, engine=ENGINE, draft=None, image=None)
    return LoadOrder(
        key=secrets.token_hex(32),
        model=replace(work.model, facts=own_facts),
        options=RunnerOptions(num_ctx=0, num_gpu=work.num_gpu),
        fixed=LoadWish(),
        need=need,
        need_of=lambda _: need,
        folder=work.folder,
    )


async def convert(scheduler: Scheduler, work: Work) -> AsyncGenerator[float, None]:
    """Have it done, and tell the share that is done whenever it has changed, 1 at the end. Errors as of a lease.

    Closing the generator gives it up; then its process has ended before the generator has.
    """
    on_accelerator = scheduler.supply().has_accelerator and work.num_gpu != 0
    order = order_of(work, on_accelerator=on_accelerator)
    waiting = asyncio.create_task(_wait_for(scheduler, order), name=f"conversion of {order.name}")
    told = -1.0
    try:
        while not (await asyncio.wait({waiting}, timeout=LOOK_SECONDS))[0]:
            share = _share(scheduler, order.key)
            if share != told:
                told = share
                yield share
        waiting.result()
        yield 1.0
    finally:
        waiting.cancel()
        await asyncio.wait({waiting})
        await scheduler.unload(order.key)
        await _until_gone(scheduler, order.key)


async def _wait_for(scheduler: Scheduler, order: LoadOrder) -> None:
    async with scheduler.lease_of(order, keep_alive_seconds=0, takes_slot=False):
        pass


def _share(scheduler: Scheduler, key: str) -> float:
    """0 while it waits for memory."""
    row = next((row for row in scheduler.residents() if row.key == key), None)
    return row.health.progress if row and row.health else 0.0


async def _until_gone(scheduler: Scheduler, key: str) -> None:
    deadline = asyncio.get_running_loop().time() + GONE_SECONDS
    while any(row.key == key for row in scheduler.residents()):
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(LOOK_SECONDS / 4)
