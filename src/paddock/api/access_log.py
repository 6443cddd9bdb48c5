"""Every request gets an id, an account and, when it has ended, one line in the log.

The line tells what was asked of which route and what it cost; never what was said, nor keys or query strings.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paddock.api.account import Account, open_account
from paddock.api.errors import ANTHROPIC_PATHS, OPENAI_PATHS

log = logging.getLogger(__name__)

CLIENT_GONE = 499
"""In place of the status of a request whose client left before there was one, as nginx has it."""
UNKNOWN_ROUTE = "unknown"

_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=-]{0,127}")
_LONGEST_METHOD = 16


@dataclass(frozen=True)
class Ended:
    """One request, when it is over."""

    method: str
    route: str
    """The template of its route, so that there are only so many."""
    dialect: str
    """ollama | openai | anthropic | none"""
    status: int
    """As it was sent, or `CLIENT_GONE`."""
    is_whole: bool
    """Whether the answer was sent to its end."""
    seconds: float
    account: Account


class AccessLog:
    """ASGI middleware around everything else."""

    def __init__(self, app: ASGIApp, tell: Callable[[Ended], None]) -> None:
        """`tell` hears of each request once, when it has ended."""
        self._app = app
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and tell how it went, however it went."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        account = open_account(request_id_of(Headers(scope=scope)))
        watched = _Watched(send, _id_headers(scope["path"], account.request_id))
        status_without_answer = 500
        try:
            await self._app(scope, receive, watched)
            status_without_answer = CLIENT_GONE
        finally:
            self._end(scope, account, watched, status_without_answer)

    def _end(self, scope: Scope, account: Account, watched: _Watched, status_without_answer: int) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        ended = Ended(
            method=scope["method"][:_LONGEST_METHOD],
            route=route,
            dialect=dialect_of(route),
            status=watched.status or status_without_answer,
            is_whole=watched.is_whole,
            seconds=time.monotonic() - account.began,
            account=account,
        )
        write_line(ended)
        self._tell(ended)


class _Watched:
    """`send` of one request, which sees the status and whether the end was reached, and adds headers."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0
        self.is_whole = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
        elif not message.get("more_body", False):
            self.is_whole = True
        await self._send(message)


def request_id_of(headers: Headers) -> str:
    """The id that the client gave its request if it is one that may stand in logs and headers, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


def dialect_of(route: str) -> str:
    """Whose API a route belongs to."""
    if route.startswith(ANTHROPIC_PATHS):
        return "anthropic"
    if route.startswith(OPENAI_PATHS):
        return "openai"
    return "ollama" if route == "/" or route.startswith("/api/") else "none"


def write_line(ended: Ended) -> None:
    """One line at info. What does not apply to a request is left out."""
    account = ended.account
    optional = {
        "queue_seconds=%.4f": account.queue_seconds,
        "first_seconds=%.4f": account.first_seconds,
        "model=%s": account.model or None,
        "prompt_tokens=%d": account.prompt_tokens or None,
        "cached_tokens=%d": account.cached_tokens or None,
        "answer_tokens=%d": account.answer_tokens or None,
        "error=%s": account.error or None,
        "ended=%s": None if ended.is_whole else "early",
    }
    told = {form: value for form, value in optional.items() if value is not None}
    line = " ".join(("event=request method=%s route=%s status=%d seconds=%.4f", *told))
    log.info(line, ended.method, ended.route, ended.status, ended.seconds, *told.values())


def _id_headers(path: str, request_id: str) -> list[tuple[bytes, bytes]]:
    value = request_id.encode()
    anthropics = [(b"request-id", value)] if path.startswith(ANTHROPIC_PATHS) else []
    return [(b"x-request-id", value), *anthropics]
