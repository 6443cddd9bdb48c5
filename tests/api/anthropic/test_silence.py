"""Silence is noticed, order is kept, and closing closes what lies below."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from paddock.api.anthropic.silence import with_silence

LONG = 30.0
SHORT = 0.01


async def test_items_come_in_their_order_and_then_the_end() -> None:
    async def items() -> AsyncGenerator[int, None]:
        for number in range(5):
            yield number

    assert [item async for item in with_silence(items(), LONG)] == [0, 1, 2, 3, 4]


async def test_silence_comes_again_and_again_and_loses_nothing() -> None:
    goes_on = asyncio.Event()

    async def items() -> AsyncGenerator[int, None]:
        yield 1
        await goes_on.wait()
        yield 2

    found: list[int | None] = []
    async for item in with_silence(items(), SHORT):
        found.append(item)
        if found.count(None) == 3:
            goes_on.set()

    assert [item for item in found if item is not None] == [1, 2]
    assert found[1:4] == [None, None, None]


async def test_an_error_comes_after_what_came_before_it() -> None:
    async def items() -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("no more")

    async with aclosing(with_silence(items(), LONG)) as found:
        assert await anext(found) == 1
        with pytest.raises(ValueError, match="no more"):
            await anext(found)


@pytest.mark.parametrize("fails", [False, True])
async def test_closing_closes_the_items_in_the_task_that_they_began_in(*, fails: bool) -> None:
    tasks: list[asyncio.Task[None] | None] = []

    async def items() -> AsyncGenerator[int, None]:
        tasks.append(asyncio.current_task())
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            tasks.append(asyncio.current_task())
            if fails:
                raise ValueError("while closing")

    async with aclosing(with_silence(items(), LONG)) as found:
        assert await anext(found) == 1

    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


async def test_who_is_cancelled_while_waiting_closes_the_items() -> None:
    closed = asyncio.Event()
    begun = asyncio.Event()

    async def items() -> AsyncGenerator[int, None]:
        try:
            begun.set()
            await asyncio.Event().wait()
            yield 1
        finally:
            closed.set()

    async def wait() -> None:
        async with aclosing(with_silence(items(), LONG)) as found:
            await anext(found)

    waiting = asyncio.create_task(wait())
    await begun.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert closed.is_set()
