"""/v1/images/edits, with forms and with JSON, over runners that do what they are told."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import aiohttp
import openai
import pytest
from PIL import Image as Pillow

from paddock.protocol import ImageRequest
from tests.api.conftest import Served
from tests.fakes.pictures import a_png
from tests.fakes.waiting import until

PNG = a_png(64, 64)
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
EDITS = "/v1/images/edits"


def asked(painting: Served) -> ImageRequest:
    """What the runner was asked for last."""
    request = painting.servers.made[-1].requests[-1]
    assert isinstance(request, ImageRequest)
    return request


def opened(base64_text: str | None) -> Pillow.Image:
    return Pillow.open(io.BytesIO(base64.b64decode(base64_text or "")))


async def test_an_edit_works_from_a_file(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    answer = await openai_client.images.edit(
        model="zimage", prompt="make it red", image=io.BytesIO(PNG), extra_body={"strength": 0.5, "seed": 7}
    )

    wanted = asked(painting)
    assert (wanted.images, wanted.strength, wanted.seed) == ((PNG,), 0.5, 7)
    assert base64.b64decode((answer.data or [])[0].b64_json or "") == a_png(64, 64, seed=7)
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.image_tokens == 64


async def test_an_edit_works_from_several_files(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    files = [a_png(64, 64, seed) for seed in range(3)]

    await openai_client.images.edit(model="klein", prompt="mix them", image=files, n=2, size="32x16")

    wanted = asked(painting)
    assert wanted.images == tuple(files)
    assert (wanted.count, wanted.width, wanted.height) == (2, 32, 16)


async def test_an_edit_streams(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    stream = await openai_client.images.edit(
        model="klein", prompt="make it red", image=PNG, stream=True, partial_images=1, output_format="jpeg"
    )
    events = [event async for event in stream]

    kinds = [event.type.removeprefix("image_edit.") for event in events]
    assert kinds == ["step", "partial_image", "step", "step", "completed"]
    assert opened(events[-1].b64_json).format == "JPEG"


@pytest.mark.parametrize(
    "given",
    [{"images": [{"image_url": URI}]}, {"image": URI}, {"image": URI.partition(",")[2]}, {"image": [URI]}],
    ids=["images", "image", "base64", "list"],
)
async def test_an_edit_takes_json(painting: Served, given: dict[str, object]) -> None:
    status, answer = await painting.post(EDITS, {"model": "klein", "prompt": "make it red", **given})

    assert status == 200
    assert asked(painting).images == (PNG,)
    assert answer["data"][0]["b64_json"]


async def test_a_mask_is_refused(painting: Served, openai_client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="mask"):
        await openai_client.images.edit(model="klein", prompt="make it red", image=PNG, mask=PNG)


REFUSED_FORMS: list[tuple[list[tuple[str, Any]], str]] = [
    ([], "image is required"),
    ([("image", "no file")], '"image" must be a file in a form'),
    ([("image", b"no picture")], "Image 1 is not a readable PNG, JPEG or WebP file."),
    ([("image[]", PNG)] * 5, "at most 4 images"),
    ([("image[]", PNG)] * 18, "Too many files"),
    ([("image", PNG), ("n", "many")], '"n" must be of type int'),
    ([("image", PNG), ("n", "9" * 400)], "more than 64 bits"),
    ([("image", PNG), ("svg", PNG)], 'A file is not supported as "svg"'),
    ([("image", PNG), ("size", "33x33")], "width must be a multiple of 8"),
    ([("image", PNG), ("strength", "0.5")], "strength is only for models that start from a picture"),
    ([("image", PNG)] + [(f"field{number}", "x") for number in range(70)], "Too many fields"),
]


async def test_a_form_that_cannot_be_honoured_is_refused(painting: Served) -> None:
    for fields, sentence in REFUSED_FORMS:
        form = aiohttp.FormData([("model", "klein"), ("prompt", "make it red")], default_to_multipart=True)
        for name, value in fields:
            form.add_field(name, value, filename="a.png" if isinstance(value, bytes) else None)
        async with painting.session.post(painting.url + EDITS, data=form) as response:
            answer = await response.json()

        assert response.status == 400, fields
        assert sentence in answer["error"]["message"]
    assert painting.servers.made == []


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n"])
@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "multipart/form-data"])
async def test_a_broken_form_is_a_bad_request(painting: Served, body: bytes, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    async with painting.session.post(painting.url + EDITS, data=body, headers=headers) as response:
        answer = await response.json()

    assert response.status in (400, 404), "an empty form names no model"
    assert answer["error"]["message"].endswith((".", "required"))


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json"])
async def test_a_body_that_is_too_large_is_refused_unread(painting: Served, kind: str) -> None:
    host, port = painting.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {EDITS} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {65 * 2**20}\r\n\r\n"
    writer.write(head.encode())

    status_line = await reader.readline()

    assert b" 413 " in status_line
    writer.close()


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json"])
async def test_a_client_that_leaves_in_mid_body_is_no_fault(
    painting: Served, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = painting.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {EDITS} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n--x\r\n"
    writer.write(head.encode())
    await until(lambda: not painting.is_at_rest)

    writer.close()

    await until(lambda: painting.is_at_rest)
    assert caplog.records == []


REFUSED_EDITS: list[tuple[dict[str, object], str]] = [
    ({"image": URI, "images": []}, 'Give "images" or "image", not both.'),
    ({"images": [{"file_id": "x"}]}, 'must have an "image_url"'),
    ({"images": [{"image_url": "https://example.com/a.png"}]}, "Image 1 is an address, which is not fetched"),
    ({"images": []}, "image is required"),
    ({"image": URI, "mask": {"image_url": URI}}, '"mask" is not supported'),
    ({"image": URI, "input_fidelity": "high"}, '"input_fidelity" is not supported'),
]


async def test_an_edit_in_json_that_cannot_be_honoured_is_refused(painting: Served) -> None:
    for more, sentence in REFUSED_EDITS:
        status, answer = await painting.post(EDITS, {"model": "klein", "prompt": "x"} | more)

        assert status == 400, more
        assert sentence in answer["error"]["message"]
    assert painting.servers.made == []
