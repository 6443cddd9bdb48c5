"""/v1/images/generations, /v1/images/edits, and the files that their addresses lead to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api import sse
from paddock.api.body import read_json
from paddock.api.borrowing import Borrowing
from paddock.api.caller import caller_of
from paddock.api.errors import openai_body_of
from paddock.api.models import find_model
from paddock.api.pictures.checks import completed, given_tokens, image_facts, tokens_of, wish_of
from paddock.api.pictures.encoding import encoded
from paddock.api.pictures.files import PictureFiles
from paddock.api.pictures.forms import read_edit
from paddock.api.pictures.inputs import check_files
from paddock.api.pictures.making import Finished, make
from paddock.api.pictures.openai_fields import Delivery, delivery_of, request_of
from paddock.api.pictures.openai_schemas import (
    CompletedEvent,
    GenerationBody,
    InputDetails,
    PartialEvent,
    Picture,
    PictureBody,
    PicturesAnswer,
    StepEvent,
    Usage,
)
from paddock.api.pictures.options import picture_options
from paddock.api.services import services_of
from paddock.api.stream import JSON, Stream
from paddock.errors import BadRequest, PaddockError, ProtocolError
from paddock.protocol import Image, ImageRequest, Preview, Step
from paddock.scheduler.order import LoadWish
from paddock.store.library import StoredModel

FILES_PATH = "/v1/images/files/"

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class _Order:
    """One request, checked, and all that its answer takes."""

    model: StoredModel
    borrowing: Borrowing
    wanted: ImageRequest
    delivery: Delivery
    event: Literal["image_generation", "image_edit"]
    base_url: str
    files: PictureFiles

    async def encoded(self, png: bytes) -> bytes:
        if self.delivery.format == "png":
            return png
        return await asyncio.to_thread(encoded, png, self.delivery.format, self.delivery.compression)

    def usage(self, pictures: list[Image], text_tokens: int | None) -> Usage:
        """Of these pictures; without the input where that is not told yet."""
        made = sum(tokens_of(picture.width, picture.height, self.model) for picture in pictures)
        given = 0 if text_tokens is None else given_tokens(self.wanted, self.model)
        texts = text_tokens or 0
        return Usage(
            input_tokens=given + texts,
            input_tokens_details=InputDetails(image_tokens=given, text_tokens=texts),
            output_tokens=made,
            total_tokens=given + texts + made,
        )


async def generations(request: Request) -> Response:
    """POST /v1/images/generations: pictures of a prompt."""
    body = await read_json(request, GenerationBody)
    return await _answer(request, body, (), "image_generation")


async def edits(request: Request) -> Response:
    """POST /v1/images/edits: pictures of a prompt and of given pictures, in a form or in JSON."""
    body, files = await read_edit(request)
    if not files:
        raise BadRequest("image is required")
    check_files(files)
    return await _answer(request, body, files, "image_edit")


async def picture_file(request: Request) -> Response:
    """GET /v1/images/files/{name}: a picture that an answer gave the address of, for an hour."""
    name = request.path_params["name"]
    data = await _files_of(request).read(name)
    headers = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(data, headers=headers, media_type=f"image/{name.rpartition('.')[2]}")


async def _answer(
    request: Request,
    body: PictureBody,
    files: tuple[bytes, ...],
    event: Literal["image_generation", "image_edit"],
) -> Response:
    services = services_of(request)
    model = await find_model(services, body.model or "")
    image_facts(model)
    delivery = delivery_of(body)
    wanted, wish = _wanted(request_of(body, files, caller_of(request)), model)
    order = _Order(
        model=model,
        borrowing=Borrowing(services, model, wish),
        wanted=wanted,
        delivery=delivery,
        event=event,
        base_url=str(request.base_url).rstrip("/"),
        files=_files_of(request),
    )
    if delivery.is_streamed:
        return Stream(_events(order), sse.EVENTS, _error_event)
    return Stream(_whole(order), JSON)


def _wanted(asked: ImageRequest, model: StoredModel) -> tuple[ImageRequest, LoadWish]:
    """The request under the parameters of its model, and what it asks of the runner."""
    own = picture_options(model.parameters, {})
    asked = msgspec.structs.replace(
        asked,
        seed=own.seed if asked.seed < 0 else asked.seed,
        guidance=own.guidance if asked.guidance is None else asked.guidance,
    )
    wanted = completed(asked, model)
    return wanted, wish_of(wanted, model, own)


async def _whole(order: _Order) -> AsyncGenerator[bytes, None]:
    """All pictures as one object."""
    made: list[Image] = []
    text_tokens = 0
    async with aclosing(make(order.borrowing, order.wanted)) as news:
        async for found in news:
            if isinstance(found, Image):
                made.append(found)
            elif isinstance(found, Finished):
                text_tokens = found.done.prompt_eval_count
    pictures = _all(made, order)
    answer = PicturesAnswer(
        created=int(time.time()),
        data=tuple([await _picture(order, picture) for picture in pictures]),
        output_format=order.delivery.format,
        size=_size(pictures[0]),
        usage=order.usage(pictures, text_tokens),
    )
    yield _encoder.encode(answer)


async def _picture(order: _Order, picture: Image) -> Picture:
    data = await order.encoded(picture.data)
    if not order.delivery.by_url:
        return Picture(b64_json=data)
    name = await order.files.keep(data, order.delivery.format)
    return Picture(url=f"{order.base_url}{FILES_PATH}{name}")


async def _events(order: _Order) -> AsyncGenerator[bytes, None]:
    """An event for each step, for each look at a picture that is not ready, and for each picture. The last of these
    waits for the figures."""
    made: list[Image] = []
    text_tokens = 0
    async with aclosing(make(order.borrowing, order.wanted)) as news:
        async for found in news:
            if isinstance(found, Step) and found.done:
                yield _event(StepEvent(type=f"{order.event}.step", completed=found.done, total=found.total))
            elif isinstance(found, Preview):
                yield _event(await _partial(order, found))
            elif isinstance(found, Image):
                if made:
                    yield _event(await _completed(order, made[-1], None))
                made.append(found)
            elif isinstance(found, Finished):
                text_tokens = found.done.prompt_eval_count
    yield _event(await _completed(order, _all(made, order)[-1], text_tokens))


async def _partial(order: _Order, preview: Preview) -> PartialEvent:
    wanted = order.wanted
    return PartialEvent(
        type=f"{order.event}.partial_image",
        b64_json=await order.encoded(preview.data),
        created_at=int(time.time()),
        output_format=order.delivery.format,
        size=f"{wanted.width}x{wanted.height}" if wanted.width else "auto",
        image_index=preview.index,
        partial_image_index=preview.number,
    )


async def _completed(order: _Order, picture: Image, text_tokens: int | None) -> CompletedEvent:
    return CompletedEvent(
        type=f"{order.event}.completed",
        b64_json=await order.encoded(picture.data),
        created_at=int(time.time()),
        output_format=order.delivery.format,
        size=_size(picture),
        image_index=picture.index,
        usage=order.usage([picture], text_tokens),
    )


def _all(made: list[Image], order: _Order) -> list[Image]:
    """The pictures, of which none may be missing."""
    if len(made) != order.wanted.count:
        raise ProtocolError("The runner ended its answer before all pictures were made: try again.")
    return made


def _event(event: StepEvent | PartialEvent | CompletedEvent) -> bytes:
    return sse.event(event.type, _encoder.encode(event))


def _error_event(error: PaddockError) -> bytes:
    return sse.event("error", openai_body_of(error))


def _size(picture: Image) -> str:
    return f"{picture.width}x{picture.height}"


def _files_of(request: Request) -> PictureFiles:
    files = request.app.state.picture_files
    assert isinstance(files, PictureFiles)
    return files
