"""Pictures through a real runner process."""

import asyncio

from paddock.protocol import CompletionRequest, Done, Health, Image, ImageRequest, RunnerState, Step
from tests.runner.processes import RunnerProcess, spawn


async def until_idle(runner: RunnerProcess) -> Health:
    """The first health that knows of no request."""
    for _ in range(1000):
        health = await runner.health()
        if not health.active_requests:
            return health
        await asyncio.sleep(0.01)
    raise AssertionError("the request is still there after ten seconds")


async def test_a_runner_streams_steps_and_a_picture(tiny_z_image):
    async with spawn(tiny_z_image, engine="image") as runner:
        health = await runner.wait_loaded()
        assert health.state is RunnerState.READY, health
        frames = await runner.frames("/image", ImageRequest(prompt="a red circle", seed=1))
        status, failed = await runner.failure("/image", ImageRequest(prompt="a circle", width=33, height=33))
        text_status, text_failed = await runner.failure("/completion", CompletionRequest(prompt="hello"))

    assert [frame.done for frame in frames if isinstance(frame, Step)] == [0, 1, 2, 3]
    assert isinstance(frames[-2], Image)
    assert frames[-2].data.startswith(b"\x89PNG")
    assert isinstance(frames[-1], Done)
    assert (status, failed.code) == (400, "invalid_option")
    assert (text_status, text_failed.code) == (400, "unsupported")


async def test_a_client_that_leaves_costs_at_most_one_more_step(tiny_z_image):
    async with spawn(tiny_z_image, engine="image") as runner:
        await runner.wait_loaded()
        request = ImageRequest(prompt="a red circle", seed=1, steps=150, width=64, height=64)
        async with runner.stream("/image", request) as frames:
            async for frame in frames:
                if isinstance(frame, Step) and frame.done == 3:
                    break
        steps = (await until_idle(runner)).steps
        [*_, done] = await runner.frames("/image", ImageRequest(prompt="a red circle", seed=1))
        later = await runner.health()

    assert steps < 150
    assert isinstance(done, Done)
    assert later.steps - steps <= 1 + 5, "one step of the request that left, and five of the other"


async def test_a_text_model_makes_no_pictures(tiny_model):
    async with spawn(tiny_model) as runner:
        await runner.wait_loaded()
        status, failed = await runner.failure("/image", ImageRequest(prompt="a red circle"))

    assert (status, failed.code) == (400, "unsupported")
    assert "pictures" in failed.message
