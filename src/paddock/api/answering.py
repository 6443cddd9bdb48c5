"""One answer in words, for every dialect: borrow the model, run the request on it, hand the model back."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from paddock.api.account import current_account
from paddock.api.borrowing import Borrowing, Replaced
from paddock.api.chunks import Piece, piece_of
from paddock.errors import RunnerError
from paddock.protocol import Done, Frame
from paddock.supervisor.model_server import ModelServer

Start = Callable[[ModelServer], AsyncGenerator[Frame, None]]
"""Begins the request on the runner that was borrowed for it."""


@dataclass(frozen=True)
class Ending:
    """How an answer went, told once and last. Durations are nanoseconds."""

    done: Done
    load_duration_ns: int
    """Until the model was lent: its load, and the queue."""
    total_duration_ns: int


async def answer(borrowing: Borrowing, start: Start, began: int) -> AsyncGenerator[Piece | Ending, None]:
    """Pieces as they come, and the ending. `began` is the request's `time.monotonic_ns`. PaddockError.

    A runner that dies before it said anything is replaced once; a request that sees two die ends.
    """
    replaced, account = Replaced(), current_account()
    while True:
        asked = time.monotonic_ns()
        async with borrowing.lease() as lease, aclosing(start(lease.server)) as frames:
            load_duration_ns = max(lease.load_duration_ns, time.monotonic_ns() - asked)
            is_silent, calls = True, 0
            try:
                async for frame in frames:
                    if (piece := piece_of(frame, calls)) is not None:
                        if is_silent:
                            account.began_to_answer()
                        is_silent, calls = False, calls + len(piece.calls)
                        yield piece
                    elif isinstance(frame, Done):
                        account.answered(frame)
                        yield Ending(frame, load_duration_ns, time.monotonic_ns() - began)
                return
            except RunnerError:
                if not is_silent or not replaced.allows_another(lease.server):
                    raise
        await replaced.be_noticed()
