"""Pictures through the whole road: real runners on tiny random models, published clients, and clients that leave."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image as Pillow

from paddock.pictures import read_details
from paddock.protocol import Activity, Done, Health, Image, ImageRequest, Preview, Step
from paddock.store.create import import_folder
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.supervisor.host import this_host
from paddock.supervisor.model_server import RunnerOptions, RunnerSpec
from paddock.supervisor.runner_server import RunnerServer
from tests.fakes.pictures import a_png
from tests.fakes.runners import CPU, SYSTEM
from tests.fakes.waiting import INTERVAL_SECONDS, until_blocking
from tests.road.conftest import Road, road_from
from tests.runner.engines.image.tiny_folders import make_tiny_klein, make_tiny_z_image

ASK = {"model": "zimage", "prompt": "a red circle", "options": {"seed": 7}}
SLOW = {"model": "zimage", "prompt": "a red circle", "width": 512, "height": 512, "steps": 150}
"""A step of it takes long enough to leave in the middle of one."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "zimage": make_tiny_z_image(tmp_path_factory.mktemp("zimage"), steps=3, width=64, height=48),
        "klein": make_tiny_klein(tmp_path_factory.mktemp("klein")),
    }


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Iterator[Road]:
    """One server with a model of either pipeline."""
    home = tmp_path_factory.mktemp("road")
    for name, folder in folders.items():
        import_folder(Library(home / "models"), ModelName.parse(name), folder)
    temporary = tmp_path_factory.mktemp("tmp")
    with road_from(home, TMPDIR=str(temporary)) as road:
        # A runner for the largest size of these tests, so that there is one for all of them.
        load = {"model": "zimage", "width": 512, "height": 512}
        assert httpx.post(f"{road.url}/api/generate", json=load, timeout=60).json()["done_reason"] == "load"
        yield road
    assert not list(temporary.glob("paddock-pictures-*")), "pictures handed out by address go with the server"


@pytest.fixture(scope="module")
def client(road: Road) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{road.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def picture(road: Road, **more: object) -> bytes:
    """The file that a request is answered with."""
    answer = httpx.post(f"{road.url}/api/generate", json=ASK | {"stream": False} | more, timeout=60)
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["image"])


def active_requests(road: Road) -> int:
    runners = httpx.get(f"{road.url}/api/status", timeout=10).json()["runners"]
    return sum(runner["active_requests"] for runner in runners)


def test_a_seed_gives_the_same_bytes_whatever_ran_in_between(road: Road) -> None:
    first = picture(road)
    other = picture(road, options={"seed": 8})
    square = picture(road, width=48, height=48)
    again = picture(road)

    assert first == again
    assert len({first, other, square}) == 3


def test_a_picture_tells_how_it_was_made(road: Road) -> None:
    details = read_details(picture(road, steps=2))

    assert details is not None
    told = {name: details[name] for name in ("prompt", "seed", "steps", "width", "height", "model")}
    assert told == {
        "prompt": "a red circle",
        "seed": 7,
        "steps": 2,
        "width": 64,
        "height": 48,
        "model": "zimage:latest",
    }


def test_progress_only_ever_grows(road: Road) -> None:
    parts = list(road.client.generate("zimage", "a red circle", steps=5, stream=True))

    completed = [part.completed for part in parts[:-1]]
    assert completed == [0, 1, 2, 3, 4, 5]
    assert {part.total for part in parts[:-1]} == {5}
    with Pillow.open(io.BytesIO(base64.b64decode(parts[-1].image))) as made:
        assert (made.format, made.size) == ("PNG", (64, 48))


def test_openais_client_makes_pictures(road: Road, client: openai.OpenAI) -> None:
    answer = client.images.generate(model="zimage", prompt="a red circle", n=2, size="64x48", extra_body={"seed": 7})

    first, second = [base64.b64decode(each.b64_json or "") for each in answer.data or ()]
    assert first == picture(road)
    assert second == picture(road, options={"seed": 8})
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2 * 8 * 6


def test_openais_client_fetches_pictures_by_address(road: Road, client: openai.OpenAI) -> None:
    answer = client.images.generate(
        model="zimage", prompt="a red circle", response_format="url", output_format="webp", extra_body={"seed": 7}
    )

    fetched = httpx.get((answer.data or [])[0].url or "")
    assert fetched.headers["content-type"] == "image/webp"
    with Pillow.open(io.BytesIO(fetched.content)) as made:
        assert (made.format, made.size) == ("WEBP", (64, 48))


def test_openais_client_sees_pictures_grow(client: openai.OpenAI) -> None:
    events = list(
        client.images.generate(
            model="zimage", prompt="a red circle", stream=True, partial_images=2, extra_body={"steps": 6}
        )
    )

    pictures = [event for event in events if not event.type.endswith(".step")]
    assert [event.type for event in pictures] == [*["image_generation.partial_image"] * 2, "image_generation.completed"]
    assert len({event.b64_json for event in pictures}) == 3
    assert len(events) == len(pictures) + 6


def test_openais_client_edits_pictures(road: Road, client: openai.OpenAI) -> None:
    def edited(*files: bytes) -> bytes:
        answer = client.images.edit(
            model="klein", prompt="make it red", image=list(files), size="64x64", extra_body={"seed": 7, "steps": 2}
        )
        return base64.b64decode((answer.data or [])[0].b64_json or "")

    one, two = edited(a_png(64, 64, 1)), edited(a_png(64, 64, 1), a_png(128, 64, 2))

    assert one != two
    assert one == edited(a_png(64, 64, 1))


def test_what_only_the_engine_knows_still_has_a_status(road: Road, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="this model reads only"):
        client.images.generate(model="zimage", prompt="x " * 5000)


def test_a_client_that_leaves_frees_the_runner_at_once(road: Road) -> None:
    with httpx.stream("POST", f"{road.url}/api/generate", json=SLOW, timeout=60) as response:
        lines = response.iter_lines()
        while '"completed":2' not in next(lines):
            pass
    left = time.monotonic()

    until_blocking(lambda: active_requests(road) == 0, within_seconds=10)
    assert picture(road)
    assert time.monotonic() - left < 10, "148 steps would have taken far longer"


# ---- one runner, looked at closely ----------------------------------------------------------------------------------


@pytest.fixture
async def runner(folders: dict[str, Path]) -> AsyncIterator[RunnerServer]:
    options = RunnerOptions(num_ctx=512, picture_pixels=512 * 512)
    spec = RunnerSpec(name="zimage", engine="image", model_path=folders["zimage"], options=options)
    server = RunnerServer(spec, this_host(os.environ))
    await server.load(SYSTEM, [CPU], require_full=False)
    await server.wait_until_running()
    yield server
    await server.close()


async def health(runner: RunnerServer) -> Health:
    await runner.ping()
    assert runner.last_health is not None
    return runner.last_health


async def at_rest(runner: RunnerServer) -> Health:
    """What it says once nobody waits for it any more and its memory was looked at."""
    for _ in range(3000):
        found = await health(runner)
        if not found.active_requests and found.activity is Activity.IDLE:
            return found
        await asyncio.sleep(INTERVAL_SECONDS)
    raise AssertionError("the request is still there")


async def test_a_runner_shows_steps_previews_and_the_picture(runner: RunnerServer) -> None:
    frames = [frame async for frame in runner.image(ImageRequest(prompt="a red circle", steps=6, previews=2))]

    steps = [frame.done for frame in frames if isinstance(frame, Step)]
    assert steps == list(range(7))
    assert [frame.number for frame in frames if isinstance(frame, Preview)] == [0, 1]
    assert [type(frame) for frame in frames[-2:]] == [Image, Done]


async def test_after_a_client_left_one_more_step_is_made_and_memory_is_given_back(runner: RunnerServer) -> None:
    loaded = await health(runner)
    request = ImageRequest(prompt="a red circle", seed=1, width=512, height=512, steps=150)
    for last_step in (0, 2):
        async with aclosing(runner.image(request)) as frames:
            async for frame in frames:
                if isinstance(frame, Step) and frame.done == last_step:
                    break
        left = await health(runner)

        rested = await at_rest(runner)

        assert rested.steps - left.steps <= 1
        assert rested.memory.active_bytes == loaded.memory.active_bytes
    assert rested.steps < 20
