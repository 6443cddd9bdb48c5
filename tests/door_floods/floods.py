"""Clients that hold a server's connections without getting anything done, and one that goes on working meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp

from tests.api.door.sockets import HEAD, connected, trickle
from tests.fakes.waiting import until

PROMPT = json.dumps({"model": "tiny", "prompt": "x" * 10}).encode()
WHOLE = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(PROMPT), PROMPT)
KINDS: dict[str, tuple[bytes, bytes]] = {
    "silent": (b"", b""),
    "half a head": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b""),
    "slow head": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"x: y\r\n"),
    "half a body": (HEAD + b"{", b""),
    "slow body": (HEAD + b"{", b" "),
    "never reads": (WHOLE, b""),
}
"""What each kind sends at once, and what it goes on sending, a piece a second."""


@dataclass
class Flood:
    """So many connections of every kind."""

    url: str
    whole: bytes = WHOLE
    open: int = 0
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By kind: how long each was kept open."""

    async def connection(self, kind: str) -> None:
        """One of them, until the server has had enough."""
        begun, more = KINDS[kind]
        async with connected(self.url, self.whole if begun is WHOLE else begun, buffer_bytes=1024) as (reader, writer):
            self.open += 1
            began = time.monotonic()
            sending = asyncio.create_task(trickle(writer, [more] * 1000, 1.0)) if more else None
            try:
                if kind == "never reads":
                    reader._transport.pause_reading()  # type: ignore[attr-defined] # it takes nothing at all
                    await trickle(writer, [b"\r\n"] * 10_000, 0.1)  # only what is sent meets a reset then
                else:
                    with contextlib.suppress(ConnectionError):
                        await reader.read()
            finally:
                self.seconds[kind].append(time.monotonic() - began)
                self.open -= 1
                if sending:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)


@contextlib.asynccontextmanager
async def flood(url: str, count: int, whole: bytes = WHOLE) -> AsyncIterator[Flood]:
    """So many slow connections, of all kinds alike, there when this begins."""
    found = Flood(url, whole)
    kinds = list(KINDS)
    tasks = [asyncio.create_task(found.connection(kinds[number % len(kinds)])) for number in range(count)]
    try:
        await until(lambda: found.open + sum(map(len, found.seconds.values())) >= count, within_seconds=30)
        yield found
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def waits_of(url: str, is_over: Callable[[int], bool], model: str = "tiny") -> list[float]:
    """Seconds of normal requests, one after the other, each on a connection of its own, until it is over."""
    waits: list[float] = []
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=30)) as session:
        while not is_over(len(waits)):
            began = time.monotonic()
            if len(waits) % 2:
                async with session.get(url + "/api/version") as response:
                    assert response.status == 200
            else:
                body = {"model": model, "input": "x"}
                async with session.post(url + "/api/embed", json=body) as response:
                    assert response.status in (200, 400), await response.text()
            waits.append(time.monotonic() - began)
    return waits
