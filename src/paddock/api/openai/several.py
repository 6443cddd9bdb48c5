"""Several answers to one request, at once: they are made side by side, told as they come, and end together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from paddock.api.answering import Ending, Start, answer
from paddock.api.borrowing import Borrowing
from paddock.api.chunks import Piece

MAX_AT_ONCE = 8
"""Answers of one request that are made at a time; the others wait for these."""

Told = tuple[int, Piece | Ending]
"""Which of the answers, and what came of it."""


async def answers(borrowing: Borrowing, starts: Sequence[Start], began: int) -> AsyncGenerator[Told, None]:
    """As `answer`, for each of `starts`; the first error of any ends them all. PaddockError."""
    if len(starts) > 1:
        async with aclosing(_side_by_side(borrowing, starts, began)) as told:
            async for each in told:
                yield each
        return
    async with aclosing(answer(borrowing, starts[0], began)) as pieces:
        async for piece in pieces:
            yield 0, piece


async def _side_by_side(borrowing: Borrowing, starts: Sequence[Start], began: int) -> AsyncGenerator[Told, None]:
    news: asyncio.Queue[Told | asyncio.Task[None]] = asyncio.Queue()
    room = asyncio.Semaphore(MAX_AT_ONCE)

    async def work(index: int, start: Start) -> None:
        async with room, aclosing(answer(borrowing, start, began)) as pieces:
            async for piece in pieces:
                news.put_nowait((index, piece))

    tasks = [asyncio.create_task(work(index, start)) for index, start in enumerate(starts)]
    for task in tasks:
        task.add_done_callback(news.put_nowait)
    ended = 0
    try:
        while ended < len(tasks):
            told = await news.get()
            if isinstance(told, asyncio.Task):
                told.result()
                ended += 1
            else:
                yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
