"""What changes the store of models: copy, delete, create, pull; and push, which there is no place for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.model_schemas import CopyBody, CreateBody, DeleteBody, Progress, TransferBody
from paddock.api.models import find_model
from paddock.api.refusals import check_create
from paddock.api.schemas import WireMessage
from paddock.api.services import services_of
from paddock.api.stream import JSON, NDJSON, Stream
from paddock.errors import BadRequest, Forbidden, InvalidName, NotFound, Unsupported
from paddock.store.create import CreateSpec, create
from paddock.store.hub.progress import Line
from paddock.store.hub.pull import Order
from paddock.store.hub.short_names import load_short_names
from paddock.store.hub.source import hub_source
from paddock.store.library import Library
from paddock.store.names import ModelName
from paddock.store.packaged import PACKAGED_NAMES, install_demo

Report = Callable[[Progress], None]

_LAYER = re.compile(r"(?:creating new|using existing) layer (sha256:([0-9a-f]{12})[0-9a-f]{52})")


async def copy(request: Request) -> Response:
    """POST /api/copy: give a model a second name."""
    body = await read_json(request, CopyBody)
    source = _part_of_copy("source", body.source)
    destination = _part_of_copy("destination", body.destination)
    try:
        await asyncio.to_thread(services_of(request).library.copy, source, destination)
    except NotFound:
        raise NotFound(f'model "{body.source}" not found') from None
    return Response(status_code=200)


def _part_of_copy(which: str, text: str) -> ModelName:
    try:
        return ModelName.parse(text)
    except InvalidName:
        raise InvalidName(f'{which} "{text[:200]}" is invalid') from None


async def delete(request: Request) -> Response:
    """DELETE /api/delete: forget a model, and what only it needed. Its runner, if it has one, ends when it is idle."""
    body = await read_json(request, DeleteBody)
    services = services_of(request)
    try:
        name = ModelName.parse(body.wanted)
    except InvalidName:
        raise InvalidName(f'name "{body.wanted[:200]}" is invalid') from None
    try:
        await asyncio.to_thread(services.library.delete, name)
    except NotFound:
        raise NotFound(f"model '{body.wanted}' not found") from None
    return Response(status_code=200)


async def create_model(request: Request) -> Response:
    """POST /api/create: make a model from uploaded blobs or from another model."""
    body = await read_json(request, CreateBody)
    check_create(body)
    name = _new_name(body.wanted)
    if not body.from_ and not body.files:
        raise BadRequest("neither 'from' or 'files' was specified")
    spec = CreateSpec(
        name=name,
        from_=body.from_,
        files=body.files or {},
        parameters=body.parameters or {},
        system=body.system,
        template=body.template,
        licenses=_licenses(body.license),
        messages=_opening(body.messages),
        draft=body.draft,
    )
    library = services_of(request).library

    def work(report: Report) -> object:
        return create(library, spec, lambda status: report(Progress(status=status)))

    return _progress(work, is_streamed=body.stream is not False)


def _new_name(text: str) -> ModelName:
    try:
        return ModelName.parse(text)
    except InvalidName:
        raise InvalidName("invalid model name") from None


def _licenses(license: str | list[str] | None) -> tuple[str, ...] | None:  # noqa: A002 - the wire's own word
    if license is None:
        return None
    return (license,) if isinstance(license, str) else tuple(license)


def _opening(messages: list[WireMessage] | None) -> tuple[dict[str, str], ...] | None:
    if messages is None:
        return None
    return tuple({"role": message.role.lower(), "content": message.content or ""} for message in messages)


async def pull(request: Request) -> Response:
    """POST /api/pull: bring a model from the Hugging Face Hub, or a demo model out of the package."""
    body = await read_json(request, TransferBody)
    name = _new_name(body.wanted)
    services, is_streamed = services_of(request), body.stream is not False
    library = services.library
    if name in PACKAGED_NAMES:
        return _progress(lambda report: _pull(library, name, report), is_streamed=is_streamed)
    source = hub_source(name, await asyncio.to_thread(load_short_names, services.config.home))
    if source is None:
        raise NotFound(
            f"model '{body.wanted[:200]}' cannot be pulled: name a repository of the Hugging Face Hub as ORG/REPO, "
            "or a short name such as qwen3."
        )
    if not library.shows(name):
        raise Forbidden(f"This API key may not make a model named '{name.display}'.")
    return _told(services.pulls.follow(library, Order(name, source)), is_streamed=is_streamed)


def _told(lines: AsyncGenerator[Line, None], is_streamed: bool) -> Response:
    """The lines of a pull as they come; unstreamed, only the last of them. A client that leaves, leaves the pull."""

    async def encoded() -> AsyncGenerator[bytes, None]:
        last = b""
        async with aclosing(lines):
            async for line in lines:
                last = msgspec.json.encode(Progress(line.status, line.digest, line.total, line.completed, line.file))
                if is_streamed:
                    yield last + b"\n"
        if not is_streamed:
            yield last

    return Stream(encoded(), NDJSON if is_streamed else JSON)


def _pull(library: Library, name: ModelName, report: Report) -> None:
    """The steps of making the model, told as those of fetching it."""
    report(Progress(status="pulling manifest"))
    install_demo(library, lambda status: report(_fetched(library, status)), name)


def _fetched(library: Library, status: str) -> Progress:
    layer = _LAYER.fullmatch(status)
    if layer is None:
        return Progress(status=status)
    digest, short = layer.groups()
    size = library.blobs.size(digest) if library.blobs.has(digest) else 0
    return Progress(status=f"pulling {short}", digest=digest, total=size, completed=size)


async def push(request: Request) -> Response:
    """POST /api/push: always refused, since there is no registry to send a model to."""
    body = await read_json(request, TransferBody)
    model = await find_model(services_of(request), body.wanted)
    raise Unsupported(f"model '{model.name.display}' cannot be pushed: models stay on this machine.")


def _progress(work: Callable[[Report], object], is_streamed: bool) -> Response:
    """Run blocking work in a thread, its steps a line each; unstreamed, only the last of them."""

    async def lines() -> AsyncGenerator[bytes, None]:
        last = b""
        steps: asyncio.Queue[Progress | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def report(step: Progress | None) -> None:
            loop.call_soon_threadsafe(steps.put_nowait, step)

        def run() -> None:
            try:
                work(report)
            finally:
                report(None)

        working = asyncio.create_task(asyncio.to_thread(run))
        try:
            while (step := await steps.get()) is not None:
                last = msgspec.json.encode(step) + b"\n"
                if is_streamed:
                    yield last
        finally:
            # A client that leaves does not undo what it asked for, and a thread cannot be interrupted.
            await asyncio.wait({working})
        working.result()
        if not is_streamed:
            yield last

    return Stream(lines(), NDJSON if is_streamed else JSON)
