"""What tests of pulls and pushes share: one that keeps its lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from paddock.store.transfer.progress import Board, Line

Result = TypeVar("Result")


class Told:
    """Runs transfers, and remembers the lines of the last one."""

    lines: list[Line]

    async def told(self, work: Callable[[Board], Awaitable[Result]]) -> Result:
        """What the work gives; it is cancelled with whoever waits for it."""
        board = Board()
        task = asyncio.ensure_future(work(board))
        task.add_done_callback(lambda _: board.end())
        try:
            self.lines = [line async for line in board.follow()]
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        return await task

    @property
    def statuses(self) -> list[str]:
        return [line.status for line in self.lines]
