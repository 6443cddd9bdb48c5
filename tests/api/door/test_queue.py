"""The queue at the door: exactly the excess is sent away, and a crowd does not make others wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from paddock.api.door.pace import Limits
from paddock.protocol import Text
from tests.api.conftest import Served, serving
from tests.api.door.keys import issue
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

CROWD = 600
QUEUE = 512
PATIENT = Limits(head_seconds=600, body_idle_seconds=600)
PROMPT = {"model": "tiny", "prompt": "x", "stream": False}


async def ask(session: aiohttp.ClientSession, url: str, headers: dict[str, str], ends: list[str]) -> int:
    """The status of one request; it notes whose it was when it ended."""
    async with session.post(url + "/api/generate", json=PROMPT, headers=headers) as response:
        await response.read()
        ends.append(headers.get("X-Who", "crowd"))
        if response.status == 503:
            assert int(response.headers["Retry-After"]) >= 1
        return response.status


@pytest.fixture
async def wide_session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:
        yield session


async def test_of_six_hundred_requests_exactly_the_excess_is_sent_away(
    tmp_path: Path, wide_session: aiohttp.ClientSession
) -> None:
    async with serving(tmp_path, PATIENT, max_queue=QUEUE, num_parallel=1) as served:
        gate = asyncio.Event()
        served.script().answer = (gate, Text(content="x"), done())
        await load(served)
        ends: list[str] = []
        asking = [asyncio.create_task(ask(wide_session, served.url, {}, ends)) for _ in range(CROWD)]
        taken = 2  # one at work, and one that the runner was given so that it never waits
        await until(lambda: len(ends) == CROWD - QUEUE - taken, within_seconds=60)
        assert served.scheduler.queue().waiting == QUEUE
        gate.set()

        statuses = Counter(await asyncio.gather(*asking))
    assert statuses == {200: QUEUE + taken, 503: CROWD - QUEUE - taken}


async def load(served: Served) -> None:
    async with served.session.post(served.url + "/api/generate", json={"model": "tiny"}) as response:
        assert response.status == 200


async def test_one_who_comes_alone_waits_for_two_turns_of_a_crowd_at_most(
    tmp_path: Path, wide_session: aiohttp.ClientSession
) -> None:
    """The queue is full of one key's requests; then another key asks, and again."""
    crowd, single = issue(tmp_path / "home", "crowd"), issue(tmp_path / "home", "single")
    async with serving(tmp_path, PATIENT, max_queue=64, num_parallel=1) as served:
        hold = asyncio.Event()
        served.script().answer = (hold, Text(content="x"), done())
        await load(served)
        ends: list[str] = []
        flood = [asyncio.create_task(ask(wide_session, served.url, crowd.headers, ends)) for _ in range(66)]
        await until(lambda: served.scheduler.queue().waiting == 64, within_seconds=60)
        headers = {**single.headers, "X-Who": "single"}
        alone = asyncio.create_task(ask(wide_session, served.url, headers, ends))
        await until(lambda: ends == ["crowd"], within_seconds=60, what="the last of the crowd makes room")
        hold.set()

        assert await alone == 200
        assert Counter(await asyncio.gather(*flood)) == {200: 65, 503: 1}
        order = [request.client for request in served.servers.made[0].requests]
    assert Counter(order) == {crowd.key.id: 65, single.key.id: 1}
    at_work_already, their_turn = 2, 1
    assert order.index(single.key.id) <= at_work_already + their_turn


async def test_machines_without_keys_take_turns_as_well(tmp_path: Path) -> None:
    async with serving(tmp_path, PATIENT, num_parallel=1) as served:
        hold = asyncio.Event()
        served.script().answer = (hold, Text(content="x"), done())
        await load(served)
        ends: list[str] = []
        async with AsyncExitStack() as stack:
            crowd, single = [
                await stack.enter_async_context(
                    aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, local_addr=(address, 0)))
                )
                for address in ("127.0.0.1", "127.0.0.2")
            ]
            flood = [asyncio.create_task(ask(crowd, served.url, {}, ends)) for _ in range(10)]
            await until(lambda: served.scheduler.queue().waiting == 8)
            alone = asyncio.create_task(ask(single, served.url, {}, ends))
            await until(lambda: served.scheduler.queue().waiting == 9)
            hold.set()
            assert await asyncio.gather(alone, *flood) == [200] * 11
        order = [request.client for request in served.servers.made[0].requests]
    assert order.index("127.0.0.2") <= 3
