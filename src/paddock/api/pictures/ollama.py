"""/api/generate on a model that makes pictures: Ollama's fields, and its lines of progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.answers import GenerateAnswer, Metrics, with_metrics
from paddock.api.borrowing import Borrowing, keep_alive_of
from paddock.api.caller import client_of, tenant_of
from paddock.api.chunks import metrics_of, timestamp
from paddock.api.pictures.checks import completed, image_facts, wish_of
from paddock.api.pictures.inputs import check_files, decoded
from paddock.api.pictures.making import Finished, News, Waiting, make
from paddock.api.pictures.options import picture_options
from paddock.api.schemas import GenerateBody
from paddock.api.services import services_of
from paddock.api.stream import JSON, NDJSON, Stream
from paddock.errors import ProtocolError, Unsupported
from paddock.protocol import Image, ImageRequest, Step
from paddock.store.library import StoredModel

_encoder = msgspec.json.Encoder()

_ANY_PROMPT = "anything"
"""In place of the prompt of a request that only loads, whose other fields are checked all the same."""


class StepLine(GenerateAnswer, kw_only=True, frozen=True):
    """So many of a picture's steps are made."""

    completed: int
    total: int


class PictureAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What the last line has beside the figures: a PNG file, in base64."""

    image: bytes


class WaitLine(GenerateAnswer, kw_only=True, frozen=True):
    """Not Ollama's: the request waits for its model, as the first, second … of those who do."""

    queue_position: int
    status: str = "waiting"


async def generate(request: Request, body: GenerateBody, model: StoredModel, began: int) -> Response:
    """POST /api/generate; `began` is the monotonic clock at its start, in nanoseconds."""
    image_facts(model)
    _check_texts_fields(body, model)
    options = picture_options(model.parameters, body.options or {})
    keep_alive = keep_alive_of(body.keep_alive)
    files = await asyncio.to_thread(decoded, body.images or ())
    check_files(files)
    is_load = not body.prompt and not files
    asked = ImageRequest(
        prompt=_ANY_PROMPT if is_load else body.prompt or "",
        negative_prompt=body.negative_prompt or "",
        width=body.width or 0,
        height=body.height or 0,
        steps=body.steps or 0,
        guidance=options.guidance,
        seed=options.seed,
        images=files,
        strength=options.strength,
        client=client_of(request),
        tenant=tenant_of(request),
    )
    wanted = completed(asked, model)
    wish = wish_of(wanted, model, options)
    if is_load and not asked.width and not asked.height:
        wish = replace(wish, picture_pixels=None)
    borrowing, name = Borrowing(services_of(request), model, wish, keep_alive), body.model or ""
    if is_load:
        return _hold(borrowing, name)
    is_streamed = body.stream is not False
    lines = _lines(make(borrowing, wanted), name, began, is_streamed)
    return Stream(lines, NDJSON if is_streamed else JSON)


def _check_texts_fields(body: GenerateBody, model: StoredModel) -> None:
    asked = {
        "suffix": body.suffix,
        "system": body.system,
        "template": body.template,
        "context": body.context,
        "raw": body.raw,
        "format": body.format,
        "think": body.think,
        "logprobs": body.logprobs,
        "top_logprobs": body.top_logprobs,
        "shift": body.shift,
        "_debug_render_only": body.debug_render_only,
    }
    for field, value in asked.items():
        if value:
            raise Unsupported(f'"{model.name.display}" makes pictures and does not support "{field}": leave it out.')


def _hold(borrowing: Borrowing, name: str) -> Response:
    async def work() -> AsyncGenerator[bytes, None]:
        metrics = Metrics(done_reason=await borrowing.hold())
        yield _encoder.encode(_last(name, metrics))

    return Stream(work(), JSON)


async def _lines(
    news: AsyncGenerator[News, None], name: str, began: int, is_streamed: bool
) -> AsyncGenerator[bytes, None]:
    """A line for each step and for each new place in the queue, and one with the picture; or that one alone."""
    picture: Image | None = None
    finished: Finished | None = None
    async with aclosing(news):
        async for found in news:
            if isinstance(found, Image):
                picture = found
            elif isinstance(found, Finished):
                finished = found
            elif is_streamed and (line := _line(found, name)) is not None:
                yield _encoder.encode(line) + b"\n"
    # By now the model is given back: a client that takes the picture slowly keeps nobody waiting.
    if picture is None or finished is None:
        raise ProtocolError("The runner ended its answer without a picture: try again.")
    metrics = metrics_of(finished.done, finished.load_duration_ns, time.monotonic_ns() - began)
    yield _encoder.encode({**_last(name, metrics), "image": picture.data}) + b"\n"


def _line(news: News, name: str) -> msgspec.Struct | None:
    if isinstance(news, Step):
        return StepLine(model=name, created_at=timestamp(), completed=news.done, total=news.total)
    if isinstance(news, Waiting):
        return WaitLine(model=name, created_at=timestamp(), queue_position=news.place)
    return None


def _last(name: str, metrics: Metrics) -> dict[str, object]:
    return with_metrics(GenerateAnswer(model=name, created_at=timestamp(), done=True), metrics)
