"""GET /openapi.json and GET /docs: the server tells of itself."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from paddock import __version__
from paddock.api.openapi.document import Json, document
from paddock.api.openapi.page import page
from paddock.api.stream import JSON

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


async def openapi(request: Request) -> Response:
    """GET /openapi.json: this server's API, as OpenAPI 3.1."""
    return Response(msgspec.json.encode(await _document(request)), media_type=JSON)


async def docs(request: Request) -> Response:
    """GET /docs: the same as a page for people."""
    found = await _document(request)
    return HTMLResponse(page(found, str(request.base_url).rstrip("/")), headers=_HEADERS)


async def _document(request: Request) -> Json:
    """It is the same for as long as the server lives, and takes a moment to make."""
    state = request.app.state
    if state.openapi_document is None:
        state.openapi_document = await asyncio.to_thread(document, request.app.routes, __version__)
    found: Json = state.openapi_document
    return found
