"""Request bodies: read with a bound, parsed strictly, refused with one sentence."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from paddock.errors import BadRequest, Cancelled

MAX_JSON_BYTES = 64 * 1024 * 1024

AnyBody = TypeVar("AnyBody", bound=msgspec.Struct)


class BodyTooLarge(BadRequest):
    """More bytes than any request needs."""

    code = "body_too_large"


async def read_json(request: Request, kind: type[AnyBody]) -> AnyBody:
    """The body as `kind`. The content type is not looked at: Ollama's clients send all sorts of them.

    BadRequest for anything that is not what the route documents; BodyTooLarge beyond 64 MiB.
    """
    data = bytearray()
    async for chunk in bounded(request):
        data += chunk
    if not data.strip():
        raise BadRequest("missing request body")
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequest(in_words(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("The request body is not valid JSON.") from None


async def bounded(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes; BodyTooLarge beyond 64 MiB, Cancelled for a client that goes before its end."""
    too_large = BodyTooLarge(f"The request body is larger than {MAX_JSON_BYTES // 2**20} MiB.")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_JSON_BYTES:
        raise too_large
    size_bytes = 0
    try:
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > MAX_JSON_BYTES:
                raise too_large
            yield chunk
    except ClientDisconnect:
        raise Cancelled("The client went away before its request was whole.") from None


def in_words(message: str) -> str:
    """msgspec's "Expected `str | null`, got `int` - at `$.prompt`" as a sentence about the field."""
    found = re.fullmatch(r"Expected `(.+)`, got `(.+)` - at `\$\.?(.*)`", message)
    if not found:
        return f"The request body is not what this route expects: {message}."
    expected, got, where = found.groups()
    expected = expected.replace(" | null", "").replace(" | ", " or ")
    field = f'"{where}"' if where else "The request body"
    return f"{field} must be of type {expected}, not {got}."
