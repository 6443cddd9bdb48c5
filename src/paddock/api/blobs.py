"""HEAD and POST /api/blobs/{digest}: the files that models are created from."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from paddock.api.services import services_of
from paddock.errors import Cancelled, NotFound
from paddock.store.blobs import BlobWriter
from paddock.store.names import parse_digest

_UPLOAD_CHUNK_BYTES = 1024 * 1024


async def has_blob(request: Request) -> Response:
    """HEAD /api/blobs/{digest}: whether a file is there."""
    digest = _digest_of(request)
    if not await asyncio.to_thread(services_of(request).library.blobs.has, digest):
        raise NotFound(f'blob "{digest}" not found')
    return Response(status_code=200)


async def upload_blob(request: Request) -> Response:
    """POST /api/blobs/{digest}: keep a file, which gets its name only if its digest is right; 200 if it is there."""
    digest = _digest_of(request)
    blobs = services_of(request).library.blobs
    if await asyncio.to_thread(blobs.has, digest):
        return Response(status_code=200)
    with blobs.writer(digest) as writer:
        try:
            await _write_all(request, writer)
        except ClientDisconnect:
            raise Cancelled("The client went away before its file was whole.") from None
        await asyncio.to_thread(writer.commit)
    return Response(status_code=201)


async def _write_all(request: Request, writer: BlobWriter) -> None:
    """The body, as it comes."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= _UPLOAD_CHUNK_BYTES:
            await asyncio.to_thread(writer.write, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(writer.write, bytes(waiting))


def _digest_of(request: Request) -> str:
    return parse_digest(request.path_params["digest"])
