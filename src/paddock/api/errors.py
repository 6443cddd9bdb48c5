"""What an error looks like over HTTP: one table from exception to status, one shape for the body."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from paddock import errors
from paddock.api.account import current_account, current_request_id
from paddock.api.body import BodyTooLarge, EncodedBody
from paddock.errors import BadRequest, PaddockError

OPENAI_PATHS = "/v1/"
"""Routes below it speak OpenAI's dialect …"""
ANTHROPIC_PATHS = "/v1/messages"
"""… but these speak Anthropic's."""


class WrongMethod(BadRequest):
    """A path that is there, but not for this method."""

    code = "wrong_method"


# The first row whose class matches decides: narrower classes stand above wider ones.
_STATUSES: tuple[tuple[type[PaddockError], int], ...] = (
    (BodyTooLarge, 413),
    (EncodedBody, 415),
    (WrongMethod, 405),
    (errors.BadRequest, 400),
    (errors.Unauthorised, 401),
    (errors.Forbidden, 403),
    (errors.TooManyRequests, 429),
    (errors.NotFound, 404),
    (errors.UnsupportedModel, 400),
    (errors.Busy, 503),
    (errors.ServerClosing, 503),
    (errors.NeverFits, 507),
    (errors.OutOfMemory, 507),
    (errors.StoreFull, 507),
    (errors.RunnerError, 502),
    (errors.NoAccess, 403),
    (errors.RemoteFailed, 502),
    (errors.Cancelled, 499),
    (PaddockError, 500),
)

_OPENAI_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_ANTHROPIC_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_OPENAI_CODES: tuple[tuple[type[PaddockError], str], ...] = (
    (errors.ModelNotFound, "model_not_found"),
    (errors.ContextTooLong, "context_length_exceeded"),
    (errors.PreviousGone, "previous_response_not_found"),
)
"""The codes that clients of OpenAI's look at."""


def status_of(error: PaddockError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def body_of(error: PaddockError) -> bytes:
    """Ollama's shape of an error; also the line that ends a stream."""
    return msgspec.json.encode({"error": error.message})


def openai_body_of(error: PaddockError) -> bytes:
    """OpenAI's shape of an error."""
    told = {
        "message": error.message,
        "type": _OPENAI_KINDS.get(status_of(error), "api_error"),
        "param": error.field or None if isinstance(error, errors.InvalidField) else None,
        "code": next((code for kind, code in _OPENAI_CODES if isinstance(error, kind)), None),
    }
    return msgspec.json.encode({"error": told})


def anthropic_body_of(error: PaddockError) -> bytes:
    """Anthropic's shape of an error, with the id of the request that it is the answer to."""
    kind = _ANTHROPIC_KINDS.get(status_of(error), "api_error")
    # Agents look for these words, and then make the conversation shorter themselves.
    message = f"Prompt is too long: {error.message}" if isinstance(error, errors.ContextTooLong) else error.message
    body: dict[str, object] = {"type": "error", "error": {"type": kind, "message": message}}
    if request_id := current_request_id():
        body["request_id"] = request_id
    return msgspec.json.encode(body)


def headers_of(error: PaddockError) -> dict[str, str]:
    """Headers that belong to an error: when to come back, and with what."""
    if isinstance(error, errors.Unauthorised):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, errors.Busy | errors.TooManyRequests):
        return {"Retry-After": str(max(1, math.ceil(error.retry_after_seconds)))}
    return {}


def error_response(error: PaddockError, path: str = "") -> Response:
    """An error as a whole answer, in the shape that clients of this path expect. The request's account ends in it."""
    current_account().failed(error)
    body = _shape_for(path)(error)
    return Response(body, status_of(error), headers_of(error), media_type="application/json; charset=utf-8")


def _shape_for(path: str) -> Callable[[PaddockError], bytes]:
    if path.startswith(ANTHROPIC_PATHS):
        return anthropic_body_of
    return openai_body_of if path.startswith(OPENAI_PATHS) else body_of


async def on_paddock_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything that is ours."""
    assert isinstance(error, PaddockError)
    return error_response(error, request.scope["path"])


async def on_not_found(request: Request, _error: Exception) -> Response:
    """A path that no route knows; clients of the dialects below /v1/ read nothing but JSON."""
    path = request.scope["path"]
    if path.startswith(OPENAI_PATHS):
        return error_response(errors.NotFound(f"There is nothing at {path[:200]}: look at the address."), path)
    return Response("404 page not found", 404, media_type="text/plain")


async def on_wrong_method(request: Request, error: Exception) -> Response:
    """A path that has no such method; as above."""
    path = request.scope["path"]
    if path.startswith(OPENAI_PATHS):
        response = error_response(WrongMethod(f"{path[:200]} does not answer to {request.method}."), path)
    else:
        response = Response("405 method not allowed", 405, media_type="text/plain")
    response.headers.update(getattr(error, "headers", None) or {})
    return response
