"""Notices when nothing has come for a while. It knows nothing of what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")


async def with_silence(items: AsyncGenerator[Item, None], seconds: float) -> AsyncGenerator[Item | None, None]:
    """The same items, and None each time that so many seconds have passed without one.

    One task works through `items` from beginning to end, since what is open in there may belong to its task; it does
    not wait for whoever takes them. Closing this closes `items`, before it returns.
    """
    waiting: list[Item] = []
    changed = asyncio.Event()

    async def work() -> None:
        async with aclosing(items):
            async for item in items:
                waiting.append(item)
                changed.set()

    working = asyncio.create_task(work())
    working.add_done_callback(lambda _: changed.set())
    try:
        while not working.done() or waiting:
            has_come = await _within(changed, seconds)
            changed.clear()
            if not has_come:
                yield None
            while waiting:
                yield waiting.pop(0)
        await working
    finally:
        working.cancel()
        await asyncio.wait({working})
        if not working.cancelled():
            working.exception()  # whoever closes this has no use for it, and asyncio would complain


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
