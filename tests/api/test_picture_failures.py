"""What becomes of a request for a picture when its runner fails, and when its client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from paddock.errors import ContextTooLong, OutOfMemory, RunnerDied
from paddock.protocol import Image, Step
from tests.api.conftest import Served
from tests.fakes.fake_server import Script, done
from tests.fakes.pictures import a_png
from tests.fakes.waiting import until

ASK = {"model": "zimage", "prompt": "a red circle"}
PICTURE = Image(data=a_png(64, 48), index=0, seed=1, width=64, height=48)


def script(painting: Served) -> Script:
    return painting.script("zimage:latest")


# ---- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ContextTooLong("The prompt is too long."), 400),
        (OutOfMemory("No memory."), 507),
        (RunnerDied("It ended."), 502),
    ],
)
async def test_a_failure_before_the_first_step_has_a_status(painting: Served, error: Exception, status: int) -> None:
    script(painting).pictures = (error,)

    assert await painting.post("/api/generate", ASK) == (status, {"error": str(error)})


async def test_a_later_failure_is_the_last_line(painting: Served) -> None:
    script(painting).pictures = (Step(done=0, total=2), OutOfMemory("No memory."))

    lines = await painting.lines("/api/generate", ASK)

    assert lines[0]["completed"] == 0
    assert lines[1:] == [{"error": "No memory."}]


async def test_a_later_failure_without_a_stream_has_a_status(painting: Served) -> None:
    script(painting).pictures = (Step(done=0, total=2), OutOfMemory("No memory."))

    assert await painting.post("/api/generate", ASK | {"stream": False}) == (507, {"error": "No memory."})


async def test_an_answer_without_a_picture_is_an_error(painting: Served) -> None:
    script(painting).pictures = (done(),)

    status, answer = await painting.post("/api/generate", ASK)

    assert status == 502
    assert "without a picture" in answer["error"]


async def test_a_runner_that_dies_silently_is_replaced_once(painting: Served) -> None:
    gate = asyncio.Event()
    script(painting).pictures = (gate, PICTURE, done())
    asking = asyncio.create_task(painting.post("/api/generate", ASK))
    await until(lambda: bool(painting.servers.made) and painting.servers.made[0].active)
    painting.servers.made[0].die()
    await until(lambda: len(painting.servers.made) == 2 and painting.servers.made[1].active)
    gate.set()

    status, answer = await asking

    assert (status, answer["done"]) == (200, True)


async def test_after_the_first_step_nothing_is_tried_again(painting: Served) -> None:
    script(painting).pictures = (Step(done=0, total=1), asyncio.Event())
    asking = asyncio.create_task(painting.lines("/api/generate", ASK))
    await until(lambda: bool(painting.servers.made) and painting.servers.made[0].active)
    painting.servers.made[0].die()

    assert "SIGKILL" in (await asking)[-1]["error"]
    assert len(painting.servers.made) == 1


# ---- clients that leave ---------------------------------------------------------------------------------------------


async def leave(painting: Served, is_there: Callable[[], object], *, is_streamed: bool) -> None:
    """Ask, wait until the request is where it should be, and hang up."""
    post = painting.session.post(painting.url + "/api/generate", json=ASK | {"stream": is_streamed})
    asking = asyncio.create_task(post.__aenter__())
    await until(is_there)
    asking.cancel()
    [response] = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(response, aiohttp.ClientResponse):
        response.close()
    await until(lambda: painting.is_at_rest)


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("steps_before", [0, 1, 4], ids=["before the first step", "in a step", "while it is decoded"])
async def test_a_client_that_leaves_cancels_the_work(painting: Served, is_streamed: bool, steps_before: int) -> None:
    steps = [Step(done=k, total=3) for k in range(steps_before)]
    script(painting).pictures = (*steps, asyncio.Event(), PICTURE, done())

    await leave(painting, lambda: painting.servers.made and painting.servers.made[0].active, is_streamed=is_streamed)

    runner = painting.servers.made[0]
    await until(lambda: runner.active == 0)
    assert runner.calls[-1] == "cancelled"
    await until(lambda: painting.scheduler.residents()[0].active_requests == 0)


async def test_a_client_that_leaves_during_a_load_leaves_no_trace(painting: Served) -> None:
    script(painting).load_gate = asyncio.Event()
    await leave(painting, lambda: painting.servers.made, is_streamed=True)
    script(painting).load_gate.set()

    lines = await painting.lines("/api/generate", ASK)

    assert lines[-1]["done"] is True
    assert painting.servers.made[0].calls.count("image") == 1


async def test_a_client_that_leaves_the_queue_is_not_served(painting: Served) -> None:
    gate = asyncio.Event()
    script(painting).pictures = (gate, PICTURE, done())
    await painting.post("/api/generate", {"model": "zimage"})
    served = painting.scheduler.residents()[0].options.parallel + 1
    asking = [asyncio.create_task(painting.lines("/api/generate", ASK)) for _ in range(served)]
    await until(lambda: painting.servers.made[0].active == served)

    leaving = asyncio.create_task(painting.lines("/api/generate", ASK | {"prompt": "nobody wants it"}))
    await until(lambda: painting.scheduler.queue().waiting == 1)
    leaving.cancel()
    await until(lambda: painting.scheduler.queue().waiting == 0)
    gate.set()
    await asyncio.gather(*asking)

    assert "nobody wants it" not in [request.prompt for request in painting.servers.made[0].requests]
