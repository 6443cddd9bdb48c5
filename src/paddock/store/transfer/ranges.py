"""Several parts of one file at once, handed on in the order of the file: what lies on the disk is always a beginning of
it, which can be hashed as it comes and gone on with."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from paddock.store.transfer.patience import Interrupted, Patience
from paddock.store.transfer.remote_file import RemoteFile
from paddock.store.transfer.web import Body

PART_BYTES = 16 * 1024 * 1024
AHEAD_BYTES = 96 * 1024 * 1024
"""What may be held in memory of parts that come before it is their turn, over all files of a transfer."""
PARTS_AT_ONCE = 4
"""Of one file."""

Open = Callable[[RemoteFile, int, int], AbstractAsyncContextManager[Body]]
"""Asks for a file's bytes from the first to before the second number."""


class NoRanges(Exception):
    """The server gives whole files only. It never leaves this package."""


class Ahead:
    """How much may still be held in memory, for all files of a transfer."""

    def __init__(self, size_bytes: int = AHEAD_BYTES, part_bytes: int = PART_BYTES) -> None:
        self._left_bytes = size_bytes
        self.part_bytes = part_bytes

    def take(self, size_bytes: int) -> bool:
        """Whether there was room for so much, which is the caller's from now on."""
        if size_bytes > self._left_bytes:
            return False
        self._left_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """The caller holds no more."""
        self._left_bytes += size_bytes


class _Part:
    """The bytes from `start` to `stop`, fetched by a task of its own, however often it takes."""

    def __init__(self, open_: Open, file: RemoteFile, start: int, stop: int, patience: Patience) -> None:
        self._open = open_
        self._file = file
        self._at = start
        self._stop = stop
        self._patience = patience
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.lent_bytes = 0
        self.task = asyncio.create_task(self._fetch())
        self.task.add_done_callback(lambda _: self._chunks.put_nowait(None))

    async def _fetch(self) -> None:
        while (start := self._at) < self._stop:
            try:
                await self._stream()
            except Interrupted as error:
                await self._patience.after(error, self._at - start)

    async def _stream(self) -> None:
        async with self._open(self._file, self._at, self._stop) as body:
            if not body.is_part:
                raise NoRanges
            async with aclosing(body.chunks()) as chunks:
                async for chunk in chunks:
                    if self._at + len(chunk) > self._stop:
                        raise Interrupted(f"more came of {self._file.name} than was asked for")
                    self._at += len(chunk)
                    self._chunks.put_nowait(chunk)
        if self._at < self._stop:
            raise Interrupted("the connection ended early")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What comes, in order; raises what the fetching failed with behind it."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
        await self.task


async def in_order(
    open_: Open, file: RemoteFile, start: int, ahead: Ahead, backoff_seconds: float
) -> AsyncGenerator[bytes, None]:
    """The bytes of a file from `start` to its end, several parts coming at once. NoRanges, RemoteFailed, NoAccess.

    The part whose turn it is always comes; those behind it as far as memory for them is left.
    """
    stops = deque(range(start + ahead.part_bytes, file.size_bytes, ahead.part_bytes))
    stops.append(file.size_bytes)
    parts: deque[_Part] = deque()
    try:
        while parts or stops:
            while stops and len(parts) < PARTS_AT_ONCE:
                lent_bytes = stops[0] - start if parts else 0
                if not ahead.take(lent_bytes):
                    break
                parts.append(_Part(open_, file, start, stops[0], Patience(backoff_seconds)))
                parts[-1].lent_bytes = lent_bytes
                start = stops.popleft()
            async with aclosing(parts[0].chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
            ahead.give_back(parts.popleft().lent_bytes)
    finally:
        await _end(parts, ahead)


async def _end(parts: deque[_Part], ahead: Ahead) -> None:
    for part in parts:
        part.task.cancel()
        ahead.give_back(part.lent_bytes)
    if parts:
        await asyncio.gather(*(part.task for part in parts), return_exceptions=True)
