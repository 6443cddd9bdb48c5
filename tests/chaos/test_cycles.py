"""Hundreds of lives of runners leave nothing behind in the server."""

from __future__ import annotations

import asyncio
import random

import aiohttp
import pytest

from tests.chaos.conftest import StartRoad
from tests.chaos.roads import Held, client, held_by, quietly_cancelled, runner_pids, scaled, stream
from tests.chaos.test_runner_hangs import make_models
from tests.fakes.waiting import until
from tests.road.conftest import Road

WARM_UP_SHARE = 0.2
"""Python's own pools grow for a while; what grows after that is a leak."""


async def cycle(session: aiohttp.ClientSession, road: Road, model: str, chance: random.Random) -> None:
    """One load and unload; a third of the requests are given up at a random moment."""
    answering = asyncio.create_task(stream(session, road.url, model))
    if chance.random() < 0.33:
        await asyncio.sleep(chance.uniform(0, 0.4))
        await quietly_cancelled(answering)
    else:
        assert (await answering).lines[-1].get("done")
    async with session.post(f"{road.url}/api/generate", json={"model": model, "keep_alive": 0}) as response:
        assert response.status == 200


async def fill_thread_pool(session: aiohttp.ClientSession, road: Road) -> None:
    """Have the server start all the threads that its pool may have: it does so one by one as it needs them."""

    async def ask() -> None:
        async with session.get(f"{road.url}/api/tags") as response:
            assert response.status == 200

    await asyncio.gather(*(ask() for _ in range(64)))


async def cycles(road: Road, count: int) -> tuple[Held, Held]:
    """What the server held after the warm-up, and at the end."""
    models, chance = make_models(road, 4), random.Random(3)
    warm_up, before = max(10, int(count * WARM_UP_SHARE)), None
    async with client() as session:
        await fill_thread_pool(session, road)
        for number in range(count):
            if number == warm_up:
                before = await at_rest(road)
            await cycle(session, road, models[number % 4], chance)
    assert before is not None
    return before, await at_rest(road)


async def at_rest(road: Road) -> Held:
    await until(lambda: not runner_pids(road), 10, "no runner is left")
    await asyncio.sleep(1)
    return held_by(road)


def check(before: Held, after: Held, growth: float) -> None:
    print(f"before {before}\nafter  {after}")
    assert (after.descriptors, after.threads, after.zombies, after.files) == (
        before.descriptors,
        before.threads,
        before.zombies,
        before.files,
    )
    assert after.private_bytes <= before.private_bytes * (1 + growth)


async def test_a_few_lives_leave_nothing(start_fake: StartRoad) -> None:
    check(*await cycles(start_fake({"frame_count": 5, "frame_seconds": 0.01}), 16), growth=0.05)


@pytest.mark.slow
async def test_five_hundred_lives_leave_nothing(start_fake: StartRoad) -> None:
    count = scaled(500)
    before, after = await cycles(start_fake({"frame_count": 5, "frame_seconds": 0.01}), count)
    print(f"{count} load/unload cycles over 4 models")
    check(before, after, growth=0.01)
