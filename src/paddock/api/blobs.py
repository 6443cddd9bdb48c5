"""HEAD and POST /api/blobs/{digest}: the files that models are created from."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from paddock.api.services import services_of
from paddock.errors import Cancelled, NotFound
from paddock.store.blobs import Blobs, BlobWriter
from paddock.store.names import parse_digest

_UPLOAD_CHUNK_BYTES = 1024 * 1024
_MOST_DIGITS = 18


async def has_blob(request: Request) -> Response:
    """HEAD /api/blobs/{digest}: whether a file is there."""
    digest = _digest_of(request)
    if not await asyncio.to_thread(_offered, services_of(request).library.blobs, digest):
        raise NotFound(f'blob "{digest}" not found')
    return Response(status_code=200)


async def upload_blob(request: Request) -> Response:
    """POST /api/blobs/{digest}: keep a file, which gets its name only if its digest is right; 200 if it is there."""
    digest = _digest_of(request)
    blobs = services_of(request).library.blobs
    if await asyncio.to_thread(_offered, blobs, digest):
        return Response(status_code=200)
    with blobs.writer(digest, size_bytes=_announced_bytes(request)) as writer:
        await asyncio.to_thread(writer.reserve)
        try:
            await _write_all(request, writer)
        except ClientDisconnect:
            raise Cancelled("The client went away before its file was whole.") from None
        await asyncio.to_thread(writer.commit)
    return Response(status_code=201)


def _offered(blobs: Blobs, digest: str) -> bool:
    """Whether a file is there. A client that is told so may come to use it, so it is not collected too soon."""
    if not blobs.has(digest):
        return False
    blobs.renew(digest)
    return True


def _announced_bytes(request: Request) -> int:
    """How long the body is said to be; 0 where it is not."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0


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
