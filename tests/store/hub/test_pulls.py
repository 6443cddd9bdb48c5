"""Many followers of one pull."""

from __future__ import annotations

import asyncio

import pytest

from paddock.errors import NotFound, ServerClosing
from paddock.store.hub.pull import Order
from paddock.store.hub.source import HubSource
from paddock.store.pulls import Pulls
from tests.fakes.fake_hub import sha256
from tests.fakes.waiting import until
from tests.store.hub.pulling import REPOSITORY, WEIGHTS, left_over, model_bytes
from tests.store.making import named

ORDER = Order(named("mine"), HubSource(REPOSITORY))


@pytest.fixture
async def pulls(puller):
    made = Pulls(lambda: puller.settings)
    yield made
    await made.close()


@pytest.fixture
def files(hub, puller, tmp_path):
    made = model_bytes(tmp_path, extra_values=500_000)
    hub.repository(REPOSITORY, made)
    return made


@pytest.fixture
def followed(pulls, puller):
    async def follow(order=ORDER):
        return [line async for line in pulls.follow(puller.library, order)]

    return follow


async def test_32_pulls_of_one_model_fetch_each_byte_once(hub, followed, files):
    told = await asyncio.gather(*(followed() for _ in range(32)))
    assert {lines[-1].status for lines in told} == {"success"}
    assert {lines[0].status for lines in told} == {"pulling manifest"}
    assert sum(hub.sent.values()) == sum(map(len, files.values()))


async def test_31_of_32_leave_and_the_last_one_finishes(hub, followed, puller, files):
    hub.faults.hold = asyncio.Event()
    followers = [asyncio.create_task(followed()) for _ in range(32)]
    await asyncio.wait_for(hub.holding.wait(), 20)
    for follower in followers[1:]:
        follower.cancel()
    await asyncio.wait(followers[1:])
    hub.faults.hold.set()
    lines = await followers[0]
    assert lines[-1].status == "success"
    assert hub.sent[sha256(files[WEIGHTS])] == len(files[WEIGHTS])
    assert puller.library.get(named("mine"))


async def test_the_last_one_to_leave_ends_the_pull_and_what_came_stays(hub, followed, puller, files):
    hub.faults.hold = asyncio.Event()
    followers = [asyncio.create_task(followed()) for _ in range(3)]
    await asyncio.wait_for(hub.holding.wait(), 20)
    await until(lambda: left_over(puller.library))
    for follower in followers:
        follower.cancel()
    await asyncio.wait(followers)
    assert not puller.library.list()
    assert left_over(puller.library)
    hub.faults.hold = None
    assert (await followed())[-1].status == "success"


async def test_who_comes_late_sees_where_it_stands(hub, pulls, puller, followed, files):
    hub.faults.hold = asyncio.Event()
    first = asyncio.create_task(followed())
    await asyncio.wait_for(hub.holding.wait(), 20)
    late = pulls.follow(puller.library, ORDER)
    assert (await anext(late)).status == "pulling manifest"
    line = await anext(late)
    assert line.digest
    hub.faults.hold.set()
    rest = [line async for line in late]
    assert rest[-1].status == "success"
    await first


async def test_everybody_is_told_why_it_failed_and_the_next_one_begins_anew(hub, followed, files):
    order = Order(named("mine"), HubSource("org/later"))
    told = await asyncio.gather(*(followed(order) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(error, NotFound) for error in told)
    hub.repository("org/later", files)
    assert (await followed(order))[-1].status == "success"


async def test_a_server_that_closes_ends_all_pulls(hub, pulls, followed, files):
    hub.faults.hold = asyncio.Event()
    follower = asyncio.create_task(followed())
    await asyncio.wait_for(hub.holding.wait(), 20)
    await pulls.close()
    with pytest.raises(ServerClosing):
        await follower
    with pytest.raises(ServerClosing):
        await followed()
