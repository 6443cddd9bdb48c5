"""Conversions as loads: admitted, waited for, told how far they are, and given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from paddock.errors import InvalidModelFiles, NeverFits, ServerClosing
from paddock.protocol import Health, RunnerState
from paddock.protocol.conversion import ENGINE
from paddock.scheduler.conversions import Work, convert
from paddock.supervisor.model_server import MemorySize
from tests.fakes.fake_server import Script
from tests.fakes.waiting import until
from tests.scheduler.test_service import OTHER, TINY, Stand
from tests.scheduler.worlds import GB

FOLDER = Path("/conversions/one")


def work(largest_tensor_gb: float = 0.1) -> Work:
    facts = replace(TINY.facts, largest_tensor_bytes=round(largest_tensor_gb * GB))
    return Work(replace(TINY, facts=facts), FOLDER)


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    made = Stand()
    await made.scheduler.start()
    yield made
    await made.scheduler.close()


def converting(share: float) -> Health:
    return Health(state=RunnerState.LOADING, pid=1, progress=share)


async def test_a_conversion_is_a_runner_that_is_gone_when_its_work_is_done(stand: Stand) -> None:
    shares = [share async for share in convert(stand.scheduler, work())]

    assert shares[-1] == 1.0
    (server,) = stand.servers.made
    assert (server.spec.engine, server.spec.model_path) == (ENGINE, FOLDER)
    assert server.spec.memory_limit_bytes > 0
    assert stand.prepared == []
    assert server.has_exited
    assert stand.scheduler.residents() == []


async def test_how_far_it_is_is_told_while_it_works(stand: Stand) -> None:
    gate = asyncio.Event()
    script = stand.servers.scripts[TINY.name.display] = Script(load_gate=gate, health=converting(0.25))

    async with aclosing(convert(stand.scheduler, work())) as shares:
        first = await anext(shares)
        script.health = converting(0.75)
        second = await anext(shares)
        gate.set()
        rest = [share async for share in shares]

    assert (first, second, rest[-1]) == (0.25, 0.75, 1.0)


async def test_giving_it_up_ends_its_process_before_anything_else(stand: Stand) -> None:
    stand.servers.scripts[TINY.name.display] = Script(load_gate=asyncio.Event())

    async with aclosing(convert(stand.scheduler, work())) as shares:
        await anext(shares)

    assert stand.servers.made[0].has_exited
    assert stand.scheduler.residents() == []


async def test_an_idle_model_makes_room_and_a_busy_one_is_waited_for(stand: Stand) -> None:
    stand.script(OTHER).memory = MemorySize(total_bytes=10 * GB, device_bytes=0)
    large = work(largest_tensor_gb=5.0)
    async with AsyncExitStack() as stack:
        await stand.hold(stack, OTHER)
        shares = convert(stand.scheduler, large)
        assert await anext(shares) == 0.0
        assert [server.spec.name for server in stand.servers.made] == [OTHER.name.display]
        assert stand.scheduler.queue().waiting == 1

    assert [share async for share in shares][-1] == 1.0
    assert stand.servers.made[0].has_exited


async def test_what_can_never_fit_is_refused_in_terms(stand: Stand) -> None:
    with pytest.raises(NeverFits, match=r"needs 40\.\d GB \(weights 40\.0 GB.*or a larger machine"):
        [share async for share in convert(stand.scheduler, work(largest_tensor_gb=20.0))]

    assert stand.servers.made == []


async def test_what_the_runner_refuses_is_passed_on(stand: Stand) -> None:
    failure = InvalidModelFiles("The adapter is for another model.")
    stand.servers.scripts[TINY.name.display] = Script(load_failure=failure)

    with pytest.raises(InvalidModelFiles, match="for another model"):
        [share async for share in convert(stand.scheduler, work())]


async def test_two_conversions_of_one_model_are_two_runners(stand: Stand) -> None:
    gate = asyncio.Event()
    stand.servers.scripts[TINY.name.display] = Script(load_gate=gate)

    async def whole() -> list[float]:
        return [share async for share in convert(stand.scheduler, work())]

    both = asyncio.gather(whole(), whole())
    await until(lambda: len(stand.servers.made) == 2, what="two runners")
    gate.set()

    assert [shares[-1] for shares in await both] == [1.0, 1.0]


async def test_a_server_that_closes_ends_it(stand: Stand) -> None:
    stand.servers.scripts[TINY.name.display] = Script(load_gate=asyncio.Event())
    shares = convert(stand.scheduler, work())
    await anext(shares)

    await stand.scheduler.close()

    with pytest.raises(ServerClosing):
        [share async for share in shares]
