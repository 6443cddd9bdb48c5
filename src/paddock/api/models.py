"""What there is and what runs: tags, ps, show, copy, delete, create, pull, blobs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.refusals import check_create
from paddock.api.schemas import (
    CopyBody,
    CreateBody,
    Details,
    ListedModel,
    NamedBody,
    Progress,
    PullBody,
    RunningModel,
    ShowAnswer,
    ShowBody,
    Terms,
    WireMessage,
)
from paddock.api.services import Services, services_of
from paddock.api.stream import JSON, NDJSON, Stream
from paddock.errors import BadRequest, InvalidName, NotFound
from paddock.scheduler.service import ResidentView
from paddock.store.create import CreateSpec, create
from paddock.store.library import StoredModel
from paddock.store.names import ModelName, parse_digest
from paddock.store.packaged import PACKAGED_NAMES, install_demo
from paddock.store.show import parameters_text, show_modelfile

_FOREVER = timedelta(days=292 * 365)
"""How far in the future "forever" is on the wire: the longest that Ollama's nanosecond clock can tell."""


def json_response(value: Any, status: int = 200) -> Response:
    """A whole answer."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


async def find_model(services: Services, text: str, required: str = "model is required") -> StoredModel:
    """The stored model of a name as a client wrote it. BadRequest (`required`) if there is no usable name; NotFound."""
    if not text:
        raise BadRequest(required)
    try:
        name = ModelName.parse(text)
    except InvalidName:
        raise InvalidName(
            f'"{text[:200]}" is not a model name: write it as model, model:tag or namespace/model:tag.'
        ) from None
    try:
        return await asyncio.to_thread(services.library.get, name)
    except NotFound:
        raise NotFound(f"model '{text}' not found") from None


# ---- listings -------------------------------------------------------------------------------------------------------


async def tags(request: Request) -> Response:
    """GET /api/tags: newest first."""
    models = await asyncio.to_thread(services_of(request).library.list)
    return json_response({"models": [_listed(model) for model in models]})


async def ps(request: Request) -> Response:
    """GET /api/ps: longest remaining first."""
    scheduler = services_of(request).scheduler
    await scheduler.look()
    residents = scheduler.residents()
    rows = sorted(residents, key=lambda row: -row.expires_at.timestamp() if row.expires_at else -math.inf)
    return json_response({"models": [_running(row) for row in rows]})


def _details(model: StoredModel) -> Details:
    facts = model.facts
    return Details(
        parent_model=model.parent_model,
        format=facts.format,
        family=facts.family,
        families=facts.families,
        parameter_size=facts.parameter_size,
        quantization_level=facts.quantization_level,
        context_length=facts.context_length,
        embedding_length=facts.embedding_length,
    )


def _listed(model: StoredModel) -> ListedModel:
    return ListedModel(
        name=model.name.display,
        model=model.name.display,
        modified_at=model.modified_at.isoformat(),
        size=model.size_bytes,
        digest=model.digest,
        details=_details(model),
        capabilities=model.facts.capabilities,
    )


def _running(row: ResidentView) -> RunningModel:
    expires_at = row.expires_at or datetime.now(UTC) + _FOREVER
    return RunningModel(
        name=row.model.name.display,
        model=row.model.name.display,
        size=row.size_bytes,
        digest=row.model.digest,
        details=_details(row.model),
        expires_at=expires_at.isoformat(),
        size_vram=row.device_bytes,
        context_length=row.context_length,
        state=row.state,
        active_requests=row.active_requests,
        waiting_requests=row.waiting_requests,
        parallel=row.options.parallel,
        promised=row.need.total_bytes,
        terms=Terms.of(row.need),
        memory=row.pool_id,
        peak=row.peak_bytes,
        peak_foreseen=row.peak_foreseen_bytes,
    )


async def show(request: Request) -> Response:
    """POST /api/show"""
    body = await read_json(request, ShowBody)
    services = services_of(request)
    model = await find_model(services, body.wanted)
    return json_response(await asyncio.to_thread(_shown, services, model, bool(body.verbose)))


def _shown(services: Services, model: StoredModel, is_verbose: bool) -> ShowAnswer:
    library = services.library
    return ShowAnswer(
        license="\n".join(model.licenses),
        modelfile=show_modelfile(model),
        parameters=parameters_text(model),
        template=model.template,
        system=model.system,
        details=_details(model),
        messages=model.messages,
        model_info=library.model_info(model),
        tensors=library.tensors(model) if is_verbose else None,
        capabilities=model.facts.capabilities,
        modified_at=model.modified_at.isoformat(),
        draft=model.draft_model,
    )


# ---- changes --------------------------------------------------------------------------------------------------------


async def copy(request: Request) -> Response:
    """POST /api/copy"""
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
    """DELETE /api/delete: the model's runner, if it has one, ends when it is idle."""
    body = await read_json(request, NamedBody)
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
    """POST /api/create: a model from uploaded blobs or from another model."""
    body = await read_json(request, CreateBody)
    check_create(body)
    try:
        name = ModelName.parse(body.wanted)
    except InvalidName:
        raise InvalidName("invalid model name") from None
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
    return _progress(lambda report: create(library, spec, report), is_streamed=body.stream is not False)


def _licenses(license: str | list[str] | None) -> tuple[str, ...] | None:  # noqa: A002 - the wire's own word
    if license is None:
        return None
    return (license,) if isinstance(license, str) else tuple(license)


def _opening(messages: list[WireMessage] | None) -> tuple[dict[str, str], ...] | None:
    if messages is None:
        return None
    return tuple({"role": message.role.lower(), "content": message.content or ""} for message in messages)


async def pull(request: Request) -> Response:
    """POST /api/pull: brings a demo model out of the package; nothing else can be pulled yet."""
    body = await read_json(request, PullBody)
    try:
        name = ModelName.parse(body.wanted)
    except InvalidName:
        raise InvalidName("invalid model name") from None
    if name not in PACKAGED_NAMES:
        raise NotFound(
            f"model '{body.wanted}' cannot be pulled: only 'demo' and 'demo-image' can; "
            "make others with `paddock create` from a folder."
        )
    library = services_of(request).library
    return _progress(lambda report: install_demo(library, report, name), is_streamed=body.stream is not False)


def _progress(work: Callable[[Callable[[str], None]], object], is_streamed: bool) -> Response:
    """Run blocking work in a thread, its statuses a line each; unstreamed, only the last of them."""

    async def lines() -> AsyncGenerator[bytes, None]:
        last = b""
        statuses: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def report(status: str | None) -> None:
            loop.call_soon_threadsafe(statuses.put_nowait, status)

        def run() -> None:
            try:
                work(report)
            finally:
                report(None)

        working = asyncio.create_task(asyncio.to_thread(run))
        try:
            while (status := await statuses.get()) is not None:
                last = msgspec.json.encode(Progress(status=status)) + b"\n"
                if is_streamed:
                    yield last
        finally:
            # A client that leaves does not undo what it asked for, and a thread cannot be interrupted.
            await asyncio.wait({working})
        working.result()
        if not is_streamed:
            yield last

    return Stream(lines(), NDJSON if is_streamed else JSON)


# ---- blobs ----------------------------------------------------------------------------------------------------------

_UPLOAD_CHUNK_BYTES = 1024 * 1024


async def has_blob(request: Request) -> Response:
    """HEAD /api/blobs/:digest"""
    digest = _digest_of(request)
    if not await asyncio.to_thread(services_of(request).library.blobs.has, digest):
        raise NotFound(f'blob "{digest}" not found')
    return Response(status_code=200)


async def upload_blob(request: Request) -> Response:
    """POST /api/blobs/:digest: the body is written as it comes and has its name only when its digest is right."""
    digest = _digest_of(request)
    blobs = services_of(request).library.blobs
    if await asyncio.to_thread(blobs.has, digest):
        return Response(status_code=200)
    with blobs.writer(digest) as writer:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _UPLOAD_CHUNK_BYTES:
                await asyncio.to_thread(writer.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(writer.write, bytes(waiting))
        await asyncio.to_thread(writer.commit)
    return Response(status_code=201)


def _digest_of(request: Request) -> str:
    return parse_digest(request.path_params["digest"])
