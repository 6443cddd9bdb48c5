"""A runner that dies before it said a word is replaced once, without the client's knowing."""

from __future__ import annotations

import asyncio

from paddock.protocol import Text
from tests.api.conftest import Served
from tests.fakes.fake_server import done
from tests.fakes.waiting import until

HELLO = {"model": "tiny", "prompt": "Hello", "stream": False}


async def kill_each(served: Served, count: int) -> None:
    """End the runners one after the other while they answer."""
    for number in range(count):
        await until(lambda number=number: len(served.servers.made) > number and served.servers.made[number].active)
        served.servers.made[number].die("killed by signal 9 (SIGKILL)")


async def test_a_runner_that_dies_silently_is_replaced_once(served: Served) -> None:
    gate = asyncio.Event()
    served.script().answer = (gate, Text(content="Hi"), done())
    asking = asyncio.create_task(served.post("/api/generate", HELLO))

    await kill_each(served, 1)
    await until(lambda: len(served.servers.made) == 2 and served.servers.made[1].active)
    gate.set()
    status, answer = await asking

    assert (status, answer["response"]) == (200, "Hi")


async def test_a_request_that_sees_two_die_ends(served: Served) -> None:
    served.script().answer = (asyncio.Event(), done())
    asking = asyncio.create_task(served.post("/api/generate", HELLO))

    await kill_each(served, 2)
    status, answer = await asking

    assert status == 502
    assert "SIGKILL" in answer["error"]
    assert len(served.servers.made) == 2


async def test_after_the_first_word_nothing_is_tried_again(served: Served) -> None:
    served.script().answer = (Text(content="Once"), asyncio.Event(), done())
    asking = asyncio.create_task(served.lines("/api/generate", HELLO | {"stream": True}))

    await kill_each(served, 1)
    lines = await asking

    assert lines[0]["response"] == "Once"
    assert "SIGKILL" in lines[-1]["error"]
    assert len(served.servers.made) == 1
