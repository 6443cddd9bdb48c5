"""Work that takes long, told step by step: as lines of a stream, or only the last of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from starlette.responses import Response

from paddock.api.model_schemas import Progress
from paddock.api.stream import JSON, NDJSON, Stream

Report = Callable[[Progress], None]
Steps = AsyncGenerator[Progress, None]


def told(steps: Steps, *, is_streamed: bool) -> Response:
    """Steps as they come; unstreamed, only the last of them. A client that leaves closes them."""

    async def lines() -> AsyncGenerator[bytes, None]:
        last = b""
        async with aclosing(steps):
            async for step in steps:
                last = msgspec.json.encode(step)
                if is_streamed:
                    yield last + b"\n"
        if not is_streamed:
            yield last + b"\n"

    return Stream(lines(), NDJSON if is_streamed else JSON)


async def in_thread(work: Callable[[Report], object]) -> Steps:
    """The steps of blocking work, which is done in a thread and raises what that raises."""
    steps: asyncio.Queue[Progress | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report(step: Progress | None) -> None:
        loop.call_soon_threadsafe(steps.put_nowait, step)

    def run() -> None:
        try:
            work(report)
        finally:
            report(None)

    working = asyncio.create_task(asyncio.to_thread(run))
    try:
        while (step := await steps.get()) is not None:
            yield step
    finally:
        # A client that leaves does not undo what it asked for, and a thread cannot be interrupted.
        await asyncio.wait({working})
    working.result()
