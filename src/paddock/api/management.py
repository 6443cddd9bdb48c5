"""What changes which models there are by their names alone: copy and delete."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from paddock.api.body import read_json
from paddock.api.model_schemas import CopyBody, DeleteBody
from paddock.api.services import services_of
from paddock.errors import InvalidName, NotFound
from paddock.store.names import ModelName


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
