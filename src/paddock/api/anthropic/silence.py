"""Notices when nothing has come for a while. It knows nothing of what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

Item = TypeVar("Item")


async def with_silence(items: AsyncGenerator[Item, None], seconds: float) -> AsyncGenerator[Item | None, None]:
    """The same items, and None each time that so many seconds have passed without one.

    One task works through `items` from beginning to end, since what is open in there may belong to its task; it does
    not wait for whoever takes them. Closing this closes `items`, before it returns.
    """
    waiting: list[Item] = []
    changed, clock = asyncio.Event(), _Clock(seconds)

    async def work() -> None:
        async with aclosing(items):
            async for item in items:
                waiting.append(item)
                clock.heard()
                changed.set()

    working = asyncio.create_task(work())
    working.add_done_callback(lambda _: changed.set())
    clock.run(changed.set)
    try:
        while not working.done() or waiting:
            await changed.wait()
            changed.clear()
            if clock.is_silent():
                yield None
            while waiting:
                yield waiting.pop(0)
        await working
    finally:
        clock.stop()
        working.cancel()
        await asyncio.wait({working})
        if not working.cancelled():
            working.exception()  # whoever closes this has no use for it, and asyncio would complain


class _Clock:
    """Tells of each stretch of `seconds` in which nothing was heard, with one timer for all: to set one anew for each
    token would cost more than the rest of its way."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._loop = seconds, asyncio.get_running_loop()
        self._heard_at, self._is_silent = self._loop.time(), False

    def run(self, tell: Callable[[], object]) -> None:
        """Call `tell` at the end of each silence, until it is stopped."""
        self._tell = tell
        self._timer = self._loop.call_at(self._heard_at + self._seconds, self._ring)

    def stop(self) -> None:
        """Tell nothing more."""
        self._timer.cancel()

    def heard(self) -> None:
        """Something has come."""
        self._heard_at = self._loop.time()

    def is_silent(self) -> bool:
        """Whether a silence has ended since this was asked last."""
        was_silent, self._is_silent = self._is_silent, False
        return was_silent

    def _ring(self) -> None:
        if self._loop.time() >= self._heard_at + self._seconds:
            self._is_silent, self._heard_at = True, self._loop.time()
            self._tell()
        self.run(self._tell)
