"""GET /v1/models and /v1/models/{model}: what there is, in OpenAI's words, or in Anthropic's for its own clients."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock.api.anthropic import models as anthropic
from paddock.api.models import find_model, json_response
from paddock.api.services import services_of
from paddock.store.library import StoredModel


class Model(msgspec.Struct, kw_only=True, frozen=True):
    """A model."""

    id: str
    object: str = "model"
    created: int
    """When it was last changed, in seconds since 1970."""
    owned_by: str
    """The namespace of its name."""


class Models(msgspec.Struct, kw_only=True, frozen=True):
    """All of them, newest first."""

    object: str = "list"
    data: tuple[Model, ...]


async def models(request: Request) -> Response:
    """GET /v1/models: the models that are stored, newest first."""
    found = await asyncio.to_thread(services_of(request).library.list)
    if anthropic.VERSION_HEADER in request.headers:
        return json_response(anthropic.page_of(found, request.query_params))
    return json_response(Models(data=tuple(_model(model, model.name.display) for model in found)))


async def model(request: Request) -> Response:
    """GET /v1/models/{model}: one model, under the name that it was asked for."""
    name = request.path_params["model"]
    found = await find_model(services_of(request), name)
    if anthropic.VERSION_HEADER in request.headers:
        return json_response(anthropic.info_of(found, name))
    return json_response(_model(found, name))


def _model(found: StoredModel, name: str) -> Model:
    return Model(id=name, created=int(found.modified_at.timestamp()), owned_by=found.name.namespace)
