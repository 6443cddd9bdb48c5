"""The door: which Host and which Origin may talk to a server on one's own machine.

A web page can send requests to 127.0.0.1, directly (cross-site) or through a name that it makes resolve there (DNS
rebinding). Both are told by headers that pages cannot forge: Host and Origin.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")
_LOCAL_ORIGINS = (
    *(f"{scheme}://{host}" for scheme in ("http", "https") for host in _LOCAL_HOSTS),
    *(f"{scheme}://{host}:*" for scheme in ("http", "https") for host in _LOCAL_HOSTS),
    *(f"{scheme}://*" for scheme in ("app", "tauri", "vscode-webview", "vscode-file")),
)
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
ALLOWED_HEADERS = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, OpenAI-Beta, x-stainless-arch, "
    "x-stainless-async, x-stainless-custom-poll-interval, x-stainless-helper-method, x-stainless-lang, x-stainless-os, "
    "x-stainless-package-version, x-stainless-poll-helper, x-stainless-retry-count, x-stainless-runtime, "
    "x-stainless-runtime-version, x-stainless-timeout"
)


def is_host_allowed(host_header: str, own_name: str) -> bool:
    """Whether a Host header can be meant for this machine: an address of a local network, or a local name.

    A public name is not, whatever it resolves to: that is how DNS rebinding looks.
    """
    host = host_header.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    if host in ("", "localhost", own_name.lower()) or host.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def origin_pattern(extra: Iterable[str]) -> re.Pattern[str]:
    """One expression for all origins that may call: Ollama's local ones and the configured; `*` stands for anything."""
    parts = [re.escape(origin).replace(r"\*", ".*") for origin in (*_LOCAL_ORIGINS, *extra)]
    return re.compile("|".join(parts), re.IGNORECASE)


class Guard:
    """ASGI middleware: refuses foreign hosts and origins with 403, answers preflights, adds CORS headers."""

    def __init__(self, app: ASGIApp, origins: Sequence[str] = ()) -> None:
        self._app = app
        self._origins = origin_pattern(origins)
        self._own_name = socket.gethostname()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide on the headers alone, before any route is looked at."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if not is_host_allowed(headers.get("host", ""), self._own_name) or not self._may_call(origin, headers):
            await Response(status_code=403)(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_preflight(origin))(scope, receive, send)
        elif origin is None:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _with_origin(send, origin))

    def _may_call(self, origin: str | None, headers: Headers) -> bool:
        if origin is None:
            # A page may send a form without Origin in old browsers, but never without this header in new ones.
            return headers.get("sec-fetch-site") != "cross-site"
        is_same = origin.partition("://")[2].lower() == headers.get("host", "").lower()
        return is_same or self._origins.fullmatch(origin) is not None


def _preflight(origin: str | None) -> dict[str, str]:
    if origin is None:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS",
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": "43200",
        "Vary": "Origin",
    }


def _with_origin(send: Send, origin: str) -> Send:
    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return send_with_origin
