"""What there is and what runs: tags and ps; and how every route finds its model."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock import __version__
from paddock.api.model_schemas import (
    Details,
    ListedModel,
    PsAnswer,
    RunningModel,
    TagsAnswer,
    Terms,
    VersionAnswer,
)
from paddock.api.services import Services, services_of
from paddock.api.stream import JSON
from paddock.errors import BadRequest, InvalidName, ModelNotFound, NotFound
from paddock.scheduler.service import ResidentView
from paddock.store.library import StoredModel
from paddock.store.names import ModelName

_FOREVER = timedelta(days=292 * 365)
"""How far in the future "forever" is on the wire: the longest that Ollama's nanosecond clock can tell."""


def json_response(value: Any, status: int = 200) -> Response:
    """A whole answer."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


async def find_model(services: Services, text: str, required: str = "model is required") -> StoredModel:
    """The stored model of a name as a client wrote it. BadRequest (`required`) without a usable name; ModelNotFound."""
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
        raise ModelNotFound(f"model '{text}' not found") from None


# ---- listings -------------------------------------------------------------------------------------------------------


async def version(_request: Request) -> Response:
    """GET /api/version: which version the server is."""
    return json_response(VersionAnswer(version=__version__))


async def tags(request: Request) -> Response:
    """GET /api/tags: the models that are stored, newest first."""
    models = await asyncio.to_thread(services_of(request).library.list)
    return json_response(TagsAnswer(models=tuple(map(_listed, models))))


async def ps(request: Request) -> Response:
    """GET /api/ps: the models that are loaded, longest remaining first."""
    services = services_of(request)
    await services.scheduler.look()
    rows = sorted(services.residents(), key=lambda row: -row.expires_at.timestamp() if row.expires_at else -math.inf)
    return json_response(PsAnswer(models=tuple(map(_running, rows))))


def details_of(model: StoredModel) -> Details:
    """The short facts of a model."""
    facts = model.facts
    return Details(
        parent_model=model.parent_model,
        format=facts.format,
        family=facts.family,
        families=facts.families,
        parameter_size=facts.parameter_size,
        quantization_level=facts.quantization_level,
        # What an image model knows of a context is how long its prompts may be.
        context_length=0 if facts.image else facts.context_length,
        embedding_length=facts.embedding_length,
    )


def _listed(model: StoredModel) -> ListedModel:
    return ListedModel(
        name=model.name.display,
        model=model.name.display,
        modified_at=model.modified_at.isoformat(),
        size=model.size_bytes,
        digest=model.digest,
        details=details_of(model),
        capabilities=model.facts.capabilities,
    )


def _running(row: ResidentView) -> RunningModel:
    expires_at = row.expires_at or datetime.now(UTC) + _FOREVER
    return RunningModel(
        name=row.model.name.display,
        model=row.model.name.display,
        size=row.size_bytes,
        digest=row.model.digest,
        details=details_of(row.model),
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
