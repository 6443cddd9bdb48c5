"""The door's first look: which Host and which Origin may talk to a server on one's own machine, whatever it listens on.

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
_LOCAL_ORIGINS = re.compile(
    rf"https?://({'|'.join(map(re.escape, _LOCAL_HOSTS))})(:[0-9]{{1,5}})?"
    r"|(app|tauri|vscode-webview|vscode-file)://[^\s/@]*"
)
"""Ollama's, but for the extensions of browsers and `file://`, behind which anybody may be."""
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
_HOST = re.compile(r"(?P<name>[a-z0-9_.-]*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_FORBIDDEN = 403
_MALFORMED = 400
_LONG_PATH = 414
_LONG_HEADERS = 431
_BOTH_LENGTHS = {b"content-length", b"transfer-encoding"}
"""Who reads the one and who reads the other see different requests."""
MOST_PATH_BYTES = 8 * 1024
MOST_HEADERS = 100
MOST_HEADER_BYTES = 64 * 1024
"""Of all headers together. h11 refuses what has grown beyond this before it is whole."""
ALLOWED_HEADERS = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, X-Api-Key, X-Request-Id, OpenAI-Beta, "
    "OpenAI-Organization, OpenAI-Project, Idempotency-Key, anthropic-version, anthropic-beta, "
    "anthropic-dangerous-direct-browser-access, x-stainless-arch, x-stainless-async, x-stainless-custom-poll-interval, "
    "x-stainless-helper, x-stainless-helper-method, x-stainless-lang, x-stainless-os, x-stainless-package-version, "
    "x-stainless-poll-helper, x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, "
    "x-stainless-timeout"
)
"""Whatever the clients of these APIs send from a page."""


def host_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """One expression for these names; `*` stands for any part of one."""
    parts = [re.escape(name.lower().rstrip(".")).replace(r"\*", "[a-z0-9_.-]*") for name in names if name]
    return re.compile("|".join(parts) or r"(?!)")


def is_host_allowed(host_header: str, named: re.Pattern[str], own_address: str = "") -> bool:
    """Whether a Host header can be meant for this machine: an address of it or of a local network, a local name, or one
    that somebody named (`named`). `own_address` is where the connection arrived.

    A public name is not, whatever it resolves to: that is how DNS rebinding looks.
    """
    found = _HOST.fullmatch(host_header.strip().lower())
    if found is None:
        return False
    host = found["name"].strip("[]").removesuffix(".")
    if host in ("", "localhost", own_address) or host.endswith(_LOCAL_SUFFIXES) or named.fullmatch(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or address.is_private or address.is_unspecified


def origin_pattern(extra: Iterable[str]) -> re.Pattern[str]:
    """One expression for all origins that may call: the local ones and the configured. There `*` stands for any part of
    one, and alone for any origin at all."""
    parts = [".*" if origin == "*" else re.escape(origin.rstrip("/")).replace(r"\*", r"[^\s/@]*") for origin in extra]
    return re.compile("|".join((_LOCAL_ORIGINS.pattern, *parts)), re.IGNORECASE)


class Guard:
    """ASGI middleware: refuses malformed and overlong heads, foreign hosts and origins, answers preflights, adds CORS
    headers."""

    def __init__(self, app: ASGIApp, origins: Sequence[str] = (), hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._origins = origin_pattern(origins)
        self._takes_any_origin = "*" in origins
        self._hosts = host_pattern((socket.gethostname(), *hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide on the headers alone, before any route is looked at."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if status := _fault(scope):
            await Response(status_code=status, headers={"Connection": "close"})(scope, receive, send)
        elif status := self._refusal(scope, headers, origin):
            await Response(status_code=status)(scope, receive, send)
        elif scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=_preflight(origin, headers))(scope, receive, send)
        elif origin is None:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _with_origin(send, origin))

    def _refusal(self, scope: Scope, headers: Headers, origin: str | None) -> int:
        """The status that Host and Origin deserve; 0 for welcome ones."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or len(origins) > 1:
            return _MALFORMED
        own_address = scope["server"][0] if scope.get("server") else ""
        is_welcome = is_host_allowed(hosts[0], self._hosts, own_address) and self._may_call(origin, headers)
        return 0 if is_welcome else _FORBIDDEN

    def _may_call(self, origin: str | None, headers: Headers) -> bool:
        if origin is None:
            # A page may send a form without Origin in old browsers, but never without this header in new ones.
            return self._takes_any_origin or headers.get("sec-fetch-site") != "cross-site"
        is_same = origin.lower() in (f"{scheme}://{headers.get('host', '').lower()}" for scheme in ("http", "https"))
        return is_same or self._origins.fullmatch(origin) is not None


def _fault(scope: Scope) -> int:
    """The status that the head itself deserves; 0 for a sound one."""
    if len(scope["raw_path"]) + len(scope["query_string"]) > MOST_PATH_BYTES:
        return _LONG_PATH
    if not scope["raw_path"].startswith(b"/"):  # a proxy is what takes whole addresses, and this is none
        return _MALFORMED
    headers = scope["headers"]
    if scope["http_version"] not in ("1.0", "1.1") or {name for name, _ in headers} >= _BOTH_LENGTHS:
        return _MALFORMED
    if len(headers) > MOST_HEADERS or sum(len(name) + len(value) for name, value in headers) > MOST_HEADER_BYTES:
        return _LONG_HEADERS
    return 0


def _preflight(origin: str | None, asked: Headers) -> dict[str, str]:
    if origin is None:
        return {}
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS",
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": "43200",
        "Vary": "Origin",
    }
    # A public page that reaches for a private network is asked about apart; this origin has been let in already.
    if asked.get("access-control-request-private-network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def _with_origin(send: Send, origin: str) -> Send:
    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers.add_vary_header("Origin")
        await send(message)

    return send_with_origin
