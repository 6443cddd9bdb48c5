"""What an error looks like over HTTP: one table from exception to status, one shape for the body."""

from __future__ import annotations

import math

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock import errors
from paddock.api.body import BodyTooLarge
from paddock.errors import PaddockError

OPENAI_PATHS = "/v1/"
"""Routes below it speak OpenAI's dialect."""

# The first row whose class matches decides: narrower classes stand above wider ones.
_STATUSES: tuple[tuple[type[PaddockError], int], ...] = (
    (BodyTooLarge, 413),
    (errors.BadRequest, 400),
    (errors.NotFound, 404),
    (errors.UnsupportedModel, 400),
    (errors.Busy, 503),
    (errors.ServerClosing, 503),
    (errors.NeverFits, 507),
    (errors.OutOfMemory, 507),
    (errors.RunnerError, 502),
    (errors.Cancelled, 499),
    (PaddockError, 500),
)


def status_of(error: PaddockError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def body_of(error: PaddockError) -> bytes:
    """Ollama's shape of an error; also the line that ends a stream."""
    return msgspec.json.encode({"error": error.message})


def openai_body_of(error: PaddockError) -> bytes:
    """OpenAI's shape of an error."""
    kinds = {400: "invalid_request_error", 404: "not_found_error"}
    kind = kinds.get(status_of(error), "api_error")
    return msgspec.json.encode({"error": {"message": error.message, "type": kind, "param": None, "code": None}})


def headers_of(error: PaddockError) -> dict[str, str]:
    """Headers that belong to an error: when to come back."""
    if isinstance(error, errors.Busy):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds)))}
    return {}


def error_response(error: PaddockError, path: str = "") -> Response:
    """An error as a whole answer, in the shape that clients of this path expect."""
    body = openai_body_of(error) if path.startswith(OPENAI_PATHS) else body_of(error)
    return Response(body, status_of(error), headers_of(error), media_type="application/json; charset=utf-8")


async def on_paddock_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything that is ours."""
    assert isinstance(error, PaddockError)
    return error_response(error, request.url.path)


async def on_not_found(_request: Request, _error: Exception) -> Response:
    """A path that no route knows."""
    return Response("404 page not found", 404, media_type="text/plain")


async def on_wrong_method(_request: Request, _error: Exception) -> Response:
    """A path that has no such method."""
    return Response("405 method not allowed", 405, media_type="text/plain")
