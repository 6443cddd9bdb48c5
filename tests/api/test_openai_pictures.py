"""/v1/images/generations, mostly through the published client, over runners that do what they are told."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import openai
import pytest
from PIL import Image as Pillow

from paddock.errors import OutOfMemory
from paddock.protocol import Image, ImageRequest, Preview, Step
from tests.api.conftest import Served
from tests.fakes.fake_server import done
from tests.fakes.pictures import a_png
from tests.fakes.waiting import until

ASK = {"model": "zimage", "prompt": "a red circle"}
GENERATIONS = "/v1/images/generations"
PICTURE = Image(data=a_png(64, 48), index=0, seed=1, width=64, height=48)


def asked(painting: Served) -> ImageRequest:
    """What the runner was asked for last."""
    request = painting.servers.made[-1].requests[-1]
    assert isinstance(request, ImageRequest)
    return request


def opened(base64_text: str | None) -> Pillow.Image:
    return Pillow.open(io.BytesIO(base64.b64decode(base64_text or "")))


# ---- generations ----------------------------------------------------------------------------------------------------


async def test_a_picture_comes_as_base64(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.images.generate(**ASK, extra_body={"seed": 7})

    assert answer.data is not None
    [picture] = answer.data
    assert base64.b64decode(picture.b64_json or "") == a_png(64, 48, seed=7)
    assert picture.url is None
    assert (answer.size, answer.output_format, answer.background) == ("64x48", "png", "opaque")
    assert answer.created > 1_700_000_000


async def test_tokens_are_counted(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.images.generate(**ASK, n=2)

    usage = answer.usage
    assert usage is not None
    assert (usage.input_tokens, usage.input_tokens_details.text_tokens) == (3, 3)
    assert usage.output_tokens == 2 * (64 // 8) * (48 // 8)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


async def test_several_pictures_are_one_request_of_the_runner(
    painting: Served, openai_client: openai.AsyncOpenAI
) -> None:
    answer = await openai_client.images.generate(**ASK, n=3, extra_body={"seed": 7})

    assert asked(painting).count == 3
    pictures = [base64.b64decode(picture.b64_json or "") for picture in answer.data or ()]
    assert pictures == [a_png(64, 48, seed=seed) for seed in (7, 8, 9)]


async def test_every_field_reaches_the_runner(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    await openai_client.images.generate(
        **ASK,
        n=1,
        size="32x24",
        quality="auto",
        background="opaque",
        moderation="low",
        user="me",
        extra_body={"seed": 0, "negative_prompt": "squares", "steps": 5, "guidance": 2.5},
    )

    model = painting.scheduler.residents()[0].model
    assert asked(painting) == ImageRequest(
        prompt="a red circle",
        negative_prompt="squares",
        width=32,
        height=24,
        steps=5,
        guidance=2.5,
        seed=0,
        model="zimage:latest",
        model_digest=model.digest,
        client="127.0.0.1",
    )


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
async def test_pictures_come_in_the_format_asked_for(
    painting: Served, openai_client: openai.AsyncOpenAI, output_format: Any
) -> None:
    answer = await openai_client.images.generate(**ASK, output_format=output_format)

    assert answer.output_format == output_format
    with opened((answer.data or [])[0].b64_json) as picture:
        assert picture.format == output_format.upper()
        assert picture.size == (64, 48)


async def test_compression_makes_files_smaller(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    noise = io.BytesIO()
    Pillow.effect_noise((64, 48), 80).convert("RGB").save(noise, format="PNG")
    picture = Image(data=noise.getvalue(), index=0, seed=1, width=64, height=48)
    painting.script("zimage:latest").pictures = (picture, done())

    best = await openai_client.images.generate(**ASK, output_format="jpeg")
    small = await openai_client.images.generate(**ASK, output_format="jpeg", output_compression=5)

    assert len((small.data or [])[0].b64_json or "") < len((best.data or [])[0].b64_json or "") / 2


async def test_a_picture_can_be_fetched_from_its_address(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.images.generate(**ASK, n=2, response_format="url", extra_body={"seed": 7})

    first, second = [picture.url or "" for picture in answer.data or ()]
    assert first.startswith(painting.url + "/v1/images/files/")
    assert first != second
    async with painting.session.get(first) as response:
        assert (response.status, response.content_type) == (200, "image/png")
        assert await response.read() == a_png(64, 48, seed=7)
    async with painting.session.get(first, headers={"Host": "pictures.example.com"}) as response:
        assert response.status == 403


@pytest.mark.parametrize("name", ["nothing.png", "..%2Fsecret", "%2e%2e"])
async def test_other_addresses_lead_nowhere(painting: Served, name: str) -> None:
    async with painting.session.get(f"{painting.url}/v1/images/files/{name}") as response:
        assert response.status == 404


# ---- streams --------------------------------------------------------------------------------------------------------


async def test_a_stream_shows_pictures_before_they_are_ready(
    painting: Served, openai_client: openai.AsyncOpenAI
) -> None:
    stream = await openai_client.images.generate(**ASK, stream=True, partial_images=2, extra_body={"seed": 7})
    *partial, last = [event async for event in stream if not event.type.endswith(".step")]

    assert asked(painting).previews == 2
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 2
    assert [event.partial_image_index for event in partial] == [0, 1]
    assert opened(partial[0].b64_json).size == (8, 8)
    assert last.type == "image_generation.completed"
    assert base64.b64decode(last.b64_json) == a_png(64, 48, seed=7)
    assert (last.size, last.output_format, last.usage.input_tokens) == ("64x48", "png", 3)


async def test_a_stream_tells_each_step(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.images.generate(**ASK, stream=True, extra_body={"steps": 3})
    *steps, _ = [event.to_dict() async for event in stream]

    assert steps == [{"type": "image_generation.step", "completed": done, "total": 3} for done in (1, 2, 3)]


async def test_a_stream_of_several_pictures_counts_the_input_once(
    painting: Served, openai_client: openai.AsyncOpenAI
) -> None:
    stream = await openai_client.images.generate(**ASK, stream=True, n=3, extra_body={"seed": 7})
    events = [event async for event in stream if not event.type.endswith(".step")]

    assert [event.type for event in events] == ["image_generation.completed"] * 3
    assert [event.image_index for event in events] == [0, 1, 2]
    assert [event.usage.input_tokens for event in events] == [0, 0, 3]
    assert len({event.b64_json for event in events}) == 3


async def test_previews_come_in_the_format_asked_for(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.images.generate(**ASK, stream=True, partial_images=1, output_format="webp")
    events = [event async for event in stream if not event.type.endswith(".step")]

    assert [opened(event.b64_json).format for event in events] == ["WEBP", "WEBP"]


async def test_the_wire_of_a_stream_is_events(painting: Served) -> None:
    async with painting.session.post(painting.url + GENERATIONS, json=ASK | {"stream": True}) as response:
        text = await response.text()

    assert response.content_type == "text/event-stream"
    first, *_, last, end = text.split("\n\n")
    assert first == 'event: image_generation.step\ndata: {"type":"image_generation.step","completed":1,"total":3}'
    assert last.startswith('event: image_generation.completed\ndata: {"type":"image_generation.completed"')
    assert end == ""


async def test_a_failure_in_mid_stream_is_an_event(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    preview = Preview(data=a_png(8, 8), index=0, number=0)
    painting.script("zimage:latest").pictures = (Step(done=0, total=2), preview, OutOfMemory("No memory."))

    stream = await openai_client.images.generate(**ASK, stream=True, partial_images=1)
    event = await anext(stream)
    assert event.type == "image_generation.partial_image"
    with pytest.raises(openai.APIError, match="No memory"):
        await anext(stream)


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_failure_before_the_first_event_has_a_status(
    painting: Served, openai_client: openai.AsyncOpenAI, is_streamed: Any
) -> None:
    painting.script("zimage:latest").pictures = (Step(done=0, total=2), OutOfMemory("No memory."))

    with pytest.raises(openai.APIStatusError, match="No memory") as caught:
        await openai_client.images.generate(**ASK, stream=is_streamed)

    assert caught.value.status_code == 507


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_client_that_leaves_cancels_the_work(painting: Served, is_streamed: bool) -> None:
    painting.script("zimage:latest").pictures = (Step(done=0, total=2), asyncio.Event(), PICTURE, done())
    asking = asyncio.create_task(painting.post(GENERATIONS, ASK | {"stream": is_streamed}))
    await until(lambda: painting.servers.made and painting.servers.made[0].active)

    asking.cancel()

    await until(lambda: painting.servers.made[0].calls[-1] == "cancelled")
    await until(lambda: painting.scheduler.residents()[0].active_requests == 0)


# ---- refusals -------------------------------------------------------------------------------------------------------


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"model": None}, "model is required"),
    ({"prompt": None}, "prompt is required"),
    ({"prompt": "x" * 32_001}, "at most 32000 characters"),
    ({"n": 0}, "n must be 1 to 10, and is 0."),
    ({"n": 11}, "n must be 1 to 10, and is 11."),
    ({"model": "klein", "size": "4096x4096", "n": 5}, "more than 67 megapixels together"),
    ({"size": "huge"}, '"size" must be "auto", or a width and a height'),
    ({"size": "0x0"}, '"size" must be "auto"'),
    ({"size": "100x64"}, "width must be a multiple of 8, such as 96 or 104, and is 100."),
    ({"size": "99999x64"}, "width must be at most 512"),
    ({"quality": "high"}, 'Invalid value for "quality": high; this server knows auto or standard.'),
    ({"background": "transparent"}, 'Invalid value for "background": transparent'),
    ({"moderation": "strict"}, 'Invalid value for "moderation"'),
    ({"response_format": "text"}, 'Invalid value for "response_format"'),
    ({"output_format": "gif"}, 'Invalid value for "output_format": gif; ask for png, jpeg or webp.'),
    ({"output_format": "svg", "svg": {"model": "x"}}, '"svg" is not supported'),
    ({"output_compression": 50}, '"output_compression" is for jpeg and webp'),
    ({"output_compression": 101, "output_format": "jpeg"}, '"output_compression" must be 0 to 100.'),
    ({"stream": True, "response_format": "url"}, "A stream carries its pictures in itself"),
    ({"stream": True, "partial_images": 4}, '"partial_images" must be 0 to 3.'),
    ({"partial_images": 1}, '"partial_images" needs "stream" to be true.'),
    ({"style": "vivid"}, '"style" is not supported'),
    ({"complexity": "low"}, '"complexity" is not supported'),
    ({"frame_count": 3}, '"frame_count" is not supported'),
    ({"steps": 151}, "steps must be 0 to 150"),
    ({"strength": 0.5}, "strength is only for models that start from a picture"),
    ({"seed": "x"}, '"seed" must be of type int, not str.'),
    ({"model": "tiny"}, '"tiny:latest" does not support image generation'),
    ({"model": "klein", "negative_prompt": "squares"}, "This model works without guidance"),
]


async def test_what_cannot_be_honoured_is_refused_before_a_load(painting: Served) -> None:
    for more, sentence in REFUSED:
        status, answer = await painting.post(GENERATIONS, ASK | more)

        assert status == 400, more
        assert answer["error"]["type"] == "invalid_request_error"
        assert sentence in answer["error"]["message"]
    assert painting.servers.made == []


async def test_an_unknown_model_is_not_found(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nobody' not found"):
        await openai_client.images.generate(model="nobody", prompt="x")
