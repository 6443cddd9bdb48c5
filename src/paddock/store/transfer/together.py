"""Several pieces of work side by side, of which the first that fails ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from paddock.errors import PaddockError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def together(
    work: Callable[[_Item], Awaitable[_Result]], items: Iterable[_Item], most_at_once: int
) -> list[_Result]:
    """What `work` gives for each, in their order; raises the PaddockError of the first that fails."""
    places = asyncio.Semaphore(most_at_once)

    async def one(item: _Item) -> _Result:
        async with places:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as failed:
        if (known := failed.subgroup(PaddockError)) is None:
            raise
        raise _first(known) from None
    return [task.result() for task in tasks]


def _first(error: PaddockError | BaseExceptionGroup[PaddockError]) -> PaddockError:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
