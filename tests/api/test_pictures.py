"""/api/generate on models that make pictures, field by field, over runners that do what they are told."""

from __future__ import annotations

import asyncio
import base64
import io
import json

import pytest
from PIL import Image as Pillow

from paddock.errors import LoadFailed
from paddock.protocol import Image, ImageRequest
from tests.api.conftest import Served
from tests.fakes.fake_server import Script, done
from tests.fakes.pictures import a_png
from tests.fakes.waiting import until

ASK = {"model": "zimage", "prompt": "a red circle"}
EDIT = {"model": "klein", "prompt": "a red circle"}
PNG = base64.b64encode(a_png(64, 64)).decode()
SMALL, NARROW = (base64.b64encode(a_png(width, 64)).decode() for width in (32, 520))
BOMB = base64.b64encode(a_png(1, 1)[:16] + (60_000).to_bytes(4, "big") * 2 + a_png(1, 1)[24:]).decode()
PICTURE = Image(data=a_png(64, 48), index=0, seed=1, width=64, height=48)


def asked(painting: Served) -> ImageRequest:
    """What the runner was asked for last."""
    request = painting.servers.made[-1].requests[-1]
    assert isinstance(request, ImageRequest)
    return request


def script(painting: Served, name: str = "zimage") -> Script:
    return painting.script(f"{name}:latest")


# ---- the answer -----------------------------------------------------------------------------------------------------


async def test_a_picture_streams_its_steps_and_then_itself(painting: Served) -> None:
    lines = await painting.lines("/api/generate", ASK | {"options": {"seed": 7}})

    *steps, last = lines
    assert [(line["completed"], line["total"], line["done"]) for line in steps] == [(k, 3, False) for k in range(4)]
    assert all(line["model"] == "zimage" and line["response"] == "" for line in lines)
    assert last["done"] is True
    assert last["done_reason"] == "stop"
    assert last["total_duration"] >= last["load_duration"] >= 0
    assert (last["prompt_eval_count"], last["eval_count"]) == (3, 3)
    assert base64.b64decode(last["image"]) == a_png(64, 48, seed=7)


async def test_a_picture_without_streaming_is_one_object(painting: Served) -> None:
    status, answer = await painting.post("/api/generate", ASK | {"stream": False, "options": {"seed": 7}})

    assert status == 200
    assert base64.b64decode(answer["image"]) == a_png(64, 48, seed=7)
    assert (answer["done"], answer["response"]) == (True, "")
    assert "completed" not in answer


async def test_the_published_client_gets_progress_and_a_picture(painting: Served) -> None:
    stream = await painting.client.generate("zimage", "a red circle", width=32, height=24, steps=2, stream=True)
    *steps, last = [part async for part in stream]

    assert [(part.completed, part.total) for part in steps] == [(0, 2), (1, 2), (2, 2)]
    with Pillow.open(io.BytesIO(base64.b64decode(last.image))) as picture:
        assert picture.size == (32, 24)


async def test_the_published_client_sends_pictures_to_work_from(painting: Served) -> None:
    answer = await painting.client.generate("klein", "a red circle", images=[a_png(64, 64)])

    assert answer.image
    assert asked(painting).images == (a_png(64, 64),)


# ---- the request ----------------------------------------------------------------------------------------------------


async def test_every_field_reaches_the_runner(painting: Served) -> None:
    body = ASK | {
        "negative_prompt": "squares",
        "width": 48,
        "height": 24,
        "steps": 5,
        "images": [PNG],
        "options": {"seed": 0, "guidance": 2, "strength": 0.5, "num_gpu": 0, "num_thread": 2},
    }
    await painting.lines("/api/generate", body)

    model = painting.scheduler.residents()[0].model
    assert asked(painting) == ImageRequest(
        prompt="a red circle",
        negative_prompt="squares",
        width=48,
        height=24,
        steps=5,
        guidance=2.0,
        seed=0,
        images=(a_png(64, 64),),
        strength=0.5,
        model="zimage:latest",
        model_digest=model.digest,
        client="127.0.0.1",
    )
    options = painting.servers.made[-1].spec.options
    assert (options.num_gpu, options.num_thread) == (0, 2)


async def test_a_request_that_names_no_size_gets_the_models_own(painting: Served) -> None:
    await painting.lines("/api/generate", ASK)
    await painting.lines("/api/generate", ASK | {"width": 32})

    first, second = painting.servers.made[-1].requests
    assert (first.width, first.height, second.width, second.height) == (64, 48, 32, 48)


async def test_a_given_picture_settles_the_size(painting: Served) -> None:
    await painting.lines("/api/generate", EDIT | {"images": [PNG]})

    assert (asked(painting).width, asked(painting).height) == (0, 0)


async def test_a_runner_is_made_for_the_size_and_replaced_for_a_larger_one(painting: Served) -> None:
    await painting.lines("/api/generate", ASK)
    await painting.lines("/api/generate", ASK | {"width": 16, "height": 16})
    assert len(painting.servers.made) == 1

    await painting.lines("/api/generate", ASK | {"width": 256, "height": 256})

    assert len(painting.servers.made) == 2
    assert painting.servers.made[0].spec.options.picture_pixels >= 64 * 48
    assert painting.servers.made[1].spec.options.picture_pixels >= 256 * 256


@pytest.mark.parametrize(
    "head", ["", "data:image/png;base64,", "data:image/png;charset=utf-8;base64,", "data:;base64,"]
)
async def test_pictures_come_as_base64_or_as_data_uris(painting: Served, head: str) -> None:
    await painting.lines("/api/generate", EDIT | {"images": [head + PNG, head + PNG[:40] + "\n" + PNG[40:]]})

    assert asked(painting).images == (a_png(64, 64), a_png(64, 64))


async def test_no_prompt_loads_the_model_and_keep_alive_zero_lets_it_go(painting: Served) -> None:
    _, loaded = await painting.post("/api/generate", {"model": "zimage"})
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert len(painting.scheduler.residents()) == 1

    _, unloaded = await painting.post("/api/generate", {"model": "zimage", "keep_alive": 0})
    assert unloaded["done_reason"] == "unload"
    await until(lambda: not painting.scheduler.residents())


async def test_keep_alive_is_honoured(painting: Served) -> None:
    await painting.post("/api/generate", ASK | {"keep_alive": -1})
    assert painting.scheduler.residents()[0].expires_at is None

    await painting.post("/api/generate", ASK | {"keep_alive": 0})
    await until(lambda: not painting.scheduler.residents())


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"width": 100}, "width must be a multiple of 8, such as 96 or 104, and is 100."),
    ({"height": 3}, "height must be a multiple of 8, such as 8, and is 3."),
    ({"height": 516}, "height must be at most 512, and is 516."),
    ({"width": 2**40}, "width must be at most 512"),
    ({"width": -8}, "width must be at least 8, and is -8."),
    ({"width": "64"}, '"width" must be of type int, not str.'),
    ({"steps": 151}, "steps must be 0 to 150, and is 151."),
    ({"steps": -1}, "steps must be 0 to 150, and is -1."),
    ({"prompt": "  "}, "A picture needs a prompt."),
    ({"prompt": "", "images": [PNG]}, "A picture needs a prompt."),
    ({"prompt": "x" * 32_001}, "at most 32000 characters"),
    ({"prompt": "", "width": 100}, "width must be a multiple of 8"),
    ({"suffix": "s"}, '"zimage:latest" makes pictures and does not support "suffix"'),
    ({"raw": True}, '"raw"'),
    ({"context": [1]}, '"context"'),
    ({"template": "t"}, '"template"'),
    ({"system": "s"}, '"system"'),
    ({"format": "json"}, '"format"'),
    ({"think": True}, '"think"'),
    ({"logprobs": True}, '"logprobs"'),
    ({"options": {"temperature": 0.5}}, 'option "temperature" is for texts'),
    ({"options": {"num_ctx": 512}}, 'option "num_ctx" is for texts'),
    ({"options": {"stop": ["x"]}}, 'option "stop" is for texts'),
    ({"options": {"warmth": 1}}, 'unknown option "warmth"'),
    ({"options": {"seed": 2**63 - 1}}, "seed must be at most"),
    ({"options": {"guidance": 101}}, "guidance must be 0 to 100, and is 101."),
    ({"options": {"guidance": "much"}}, 'option "guidance" must be of type float32'),
    ({"options": {"strength": 0.5}}, "strength is only for models that start from a picture"),
    ({"options": {"strength": 0}, "images": [PNG]}, "strength must be above 0"),
    ({"images": [PNG, PNG]}, "at most one image"),
    ({"images": ["*"]}, "Image 1 is not valid base64."),
    ({"images": ["data:image/png,abc"]}, "Image 1 is a data URI without base64"),
    ({"images": ["https://example.com/a.png"]}, "Image 1 is an address, which is not fetched"),
    ({"images": ["QUJD"]}, "Image 1 is not a readable PNG, JPEG or WebP file."),
    ({"images": [BOMB]}, "Image 1 is 60000 x 60000 pixels; at most 33 megapixels"),
    ({"images": [SMALL]}, "Image 1 is 32 x 64 pixels; each side needs at least 64."),
    ({"images": [NARROW]}, "Image 1 is too narrow"),
    ({"images": ["A" * 30_000_000]}, "Image 1 is larger than 21 MiB."),
    ({"images": [PNG], "width": 64}, "Give width and height together, or neither"),
    ({"keep_alive": "soon"}, '"soon" is not a duration'),
    ({"model": "klein", "images": [PNG] * 5}, "at most 4 images"),
    ({"model": "klein", "negative_prompt": "squares"}, "This model works without guidance"),
    ({"model": "klein", "options": {"guidance": 3}}, "This model works without guidance"),
    ({"model": "klein", "images": [PNG], "options": {"strength": 0.5}}, "strength is only for models that start"),
]


async def test_what_cannot_be_honoured_is_refused_before_a_load(painting: Served) -> None:
    for more, sentence in REFUSED:
        # Large bodies as bytes that are read piece by piece, as aiohttp wants it.
        data = io.BytesIO(json.dumps(ASK | more).encode())
        async with painting.session.post(painting.url + "/api/generate", data=data) as response:
            answer = await response.json()

        assert response.status == 400, more
        assert sentence in answer["error"]
    assert painting.servers.made == []


@pytest.mark.parametrize("field", [{"width": 64}, {"height": 64}, {"steps": 4}, {"negative_prompt": "squares"}])
async def test_a_text_model_refuses_the_fields_of_pictures(painting: Served, field: dict[str, object]) -> None:
    status, error = await painting.post("/api/generate", {"model": "tiny", "prompt": "x"} | field)

    assert status == 400
    assert "does not support image generation" in error["error"]


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "x"}]}, "does not support chat: it makes pictures"),
        ("/api/embed", {"input": "x"}, "does not support embedding"),
    ],
)
async def test_a_model_of_pictures_does_nothing_else(painting: Served, path: str, body: dict, sentence: str) -> None:
    status, error = await painting.post(path, {"model": "zimage"} | body)

    assert status == 400
    assert sentence in error["error"]


async def test_stored_parameters_are_under_those_of_the_request(painting: Served) -> None:
    await painting.post("/api/create", {"model": "fixed", "from": "zimage", "parameters": {"seed": 9, "num_thread": 2}})
    await painting.lines("/api/generate", ASK | {"model": "fixed"})
    assert asked(painting).seed == 9

    await painting.lines("/api/generate", ASK | {"model": "fixed", "options": {"seed": 4}})

    assert asked(painting).seed == 4
    assert painting.servers.made[-1].spec.options.num_thread == 2


# ---- the queue ------------------------------------------------------------------------------------------------------


async def test_who_waits_is_told_its_place(painting: Served) -> None:
    gate = asyncio.Event()
    script(painting).pictures = (gate, PICTURE, done())
    await painting.post("/api/generate", {"model": "zimage"})
    served = painting.scheduler.residents()[0].options.parallel + 1
    asking = [asyncio.create_task(painting.lines("/api/generate", ASK)) for _ in range(served)]
    await until(lambda: painting.servers.made[0].active == served)

    async with painting.session.post(painting.url + "/api/generate", json=ASK) as waiting:
        first = json.loads(await waiting.content.readline())
        gate.set()
        [*_, last] = [json.loads(line) async for line in waiting.content]
    await asyncio.gather(*asking)

    assert (first["status"], first["queue_position"], first["done"]) == ("waiting", 1, False)
    assert last["done"] is True
    assert last["image"]


async def test_a_load_that_fails_has_a_status_although_the_request_waited(painting: Served) -> None:
    gate = asyncio.Event()
    script(painting).load_gate = gate
    script(painting).load_failure = LoadFailed("The runner of 'zimage' ended: bad weights.")
    asking = asyncio.create_task(painting.post("/api/generate", ASK))
    await until(lambda: bool(painting.servers.made))
    gate.set()

    assert await asking == (502, {"error": "The runner of 'zimage' ended: bad weights."})
