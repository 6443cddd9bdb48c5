"""One request for pictures, from the queue to the last frame; it knows no dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from paddock.api.account import current_account
from paddock.api.borrowing import Borrowing, Replaced
from paddock.errors import RunnerError
from paddock.protocol import Done, Image, ImageRequest, Preview, Step
from paddock.scheduler.service import Lease

_LOOK_SECONDS = 0.5
"""How often who waits is looked for in the queue."""


@dataclass(frozen=True)
class Waiting:
    """The request waits for its model, and has a new place in the queue: 1 is the next."""

    place: int


@dataclass(frozen=True)
class Finished:
    """All pictures were made."""

    done: Done
    load_duration_ns: int


News = Waiting | Step | Preview | Image | Finished


async def make(borrowing: Borrowing, request: ImageRequest) -> AsyncGenerator[News, None]:
    """Borrow the model, have the pictures made, hand the model back: news as they come, Finished once at the end.

    A runner that dies before its first frame is replaced once; a request that sees two die ends. Closing the generator
    cancels the work, wherever it is.
    """
    replaced = Replaced()
    while True:
        async with AsyncExitStack() as stack:
            async with aclosing(_lent(borrowing, stack)) as queue:
                async for found in queue:
                    if isinstance(found, Waiting):
                        yield found
                    else:
                        lease = found
            is_silent = True
            try:
                async with aclosing(lease.server.image(request)) as frames:
                    async for frame in frames:
                        is_silent = False
                        if isinstance(frame, Done):
                            current_account().prompt_tokens += frame.prompt_eval_count
                            yield Finished(frame, lease.load_duration_ns)
                        elif isinstance(frame, Step | Preview | Image):
                            yield frame
                return
            except RunnerError:
                if not is_silent or not replaced.allows_another(lease.server):
                    raise
        await replaced.be_noticed()


async def _lent(borrowing: Borrowing, stack: AsyncExitStack) -> AsyncGenerator[Waiting | Lease, None]:
    """Places in the queue as they change, then the lease, which lasts as long as the stack."""
    scheduler = borrowing.services.scheduler
    ticket = scheduler.ticket()
    entering = asyncio.create_task(stack.enter_async_context(borrowing.lease(ticket=ticket)))
    known: int | None = None
    try:
        while not (await asyncio.wait({entering}, timeout=_LOOK_SECONDS))[0]:
            if (place := scheduler.place(ticket)) not in (None, known):
                assert place is not None
                known = place
                yield Waiting(place)
    finally:
        entering.cancel()  # which does nothing to one that is through
        await asyncio.gather(entering, return_exceptions=True)
    yield entering.result()
