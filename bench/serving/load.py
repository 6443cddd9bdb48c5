"""The load of the serving benchmark: what one client, or several at once, see of a server's streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import aiohttp
from dialects import COMPLETIONS, Dialect

_SECONDS = 900


@dataclass(frozen=True)
class Place:
    """Where a server answers, and in which dialect."""

    url: str
    model: str
    dialect: Dialect = COMPLETIONS
    process: int = 0
    """Id of the process that was started; it may have children."""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """One answer as its client saw it, in seconds of the monotonic clock."""

    began: float
    arrivals: tuple[float, ...]
    ended: float

    @property
    def first_s(self) -> float:
        """Until the first piece of text."""
        return (self.arrivals[0] if self.arrivals else self.ended) - self.began


async def measure_rate(place: Place, prompts: Sequence[str], tokens: int) -> float:
    """Tokens per second of all these prompts asked at once, from the first request to the last answer's end."""
    async with _session() as session:
        began = time.perf_counter()
        streams = await asyncio.gather(*(_ask(session, place, prompt, tokens) for prompt in prompts))
        return len(prompts) * tokens / (max(stream.ended for stream in streams) - began)


async def measure_first(place: Place, prompts: Sequence[str]) -> list[float]:
    """Seconds until the first text of each prompt, asked one after the other."""
    async with _session() as session:
        return [(await _ask(session, place, prompt, 2)).first_s for prompt in prompts]


async def measure_gaps(place: Place, prompt: str, tokens: int, beside: str) -> tuple[list[float], list[float]]:
    """Seconds between the pieces of one stream: alone, and while the prompt `beside` is being read."""
    async with _session() as session:
        alone = _gaps(await _ask(session, place, prompt, tokens))
        stream = asyncio.create_task(_ask(session, place, prompt, tokens))
        await asyncio.sleep(0.5)
        long = await _ask(session, place, beside, 1)
        both = await stream
    arrivals = [arrival for arrival in both.arrivals if long.began <= arrival <= long.ended]
    # A stream that stood still for the whole prompt shows as one gap, however few arrivals lie within.
    after = next((arrival for arrival in both.arrivals if arrival > long.ended), both.ended)
    before = max((arrival for arrival in both.arrivals if arrival < long.began), default=both.began)
    return alone, [later - sooner for sooner, later in zip([before, *arrivals], [*arrivals, after], strict=True)]


async def _ask(session: aiohttp.ClientSession, place: Place, prompt: str, tokens: int) -> Stream:
    began = time.perf_counter()
    arrivals = [time.perf_counter() async for piece in _pieces(session, place, prompt, tokens) if piece]
    return Stream(began, tuple(arrivals), time.perf_counter())


async def _pieces(session: aiohttp.ClientSession, place: Place, prompt: str, tokens: int) -> AsyncIterator[str]:
    body = place.dialect.body(place.model, prompt, tokens)
    async with session.post(place.url + place.dialect.path, json=body, headers=place.headers) as response:
        if response.status != 200:
            raise RuntimeError(f"{place.url} answered {response.status}: {(await response.text())[:300]}")
        async for line in response.content:
            yield place.dialect.piece(line)


def _gaps(stream: Stream) -> list[float]:
    return [later - sooner for sooner, later in zip(stream.arrivals, stream.arrivals[1:], strict=False)]


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_SECONDS), connector=aiohttp.TCPConnector(limit=0), read_bufsize=1 << 22
    )
