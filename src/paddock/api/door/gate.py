"""Whether a request may come in: the key that it brings, how far that goes, and how much of its allowance is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from paddock.api.caller import Caller
from paddock.api.door.allowance import Allowance
from paddock.api.door.bodies import Bodies
from paddock.api.door.ring import KeyRing
from paddock.api.door.rules import Access, Rule, Rulebook
from paddock.api.errors import error_response
from paddock.config import Config
from paddock.errors import Forbidden, PaddockError, Unauthorised
from paddock.keys import Key

MISSING = (
    'This server asks for an API key: send one as "Authorization: Bearer …" or as "x-api-key" '
    "(Paddock's own commands take it from PADDOCK_API_KEY)."
)
WRONG = "The API key is not known here, or is no longer valid: ask whoever runs this server for another."
TOO_SMALL = "This API key may only use models: ask for one that may manage them."
TOO_NARROW = "This API key is for some models alone: ask for one that may manage all of them."
HOW_TO = "Every request needs an API key, and there is none yet: make one with `paddock key create NAME`."


def is_key_required(config: Config) -> bool:
    """Whether requests without a key are refused: a setting, else wherever other machines can reach the server."""
    return not _is_loopback(config.address.host) if config.require_key is None else config.require_key


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Gate:
    """ASGI middleware. What it found out is the `Caller` in the request's state; the bounds of its body are beside
    it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        ring: KeyRing,
        rulebook: Rulebook,
        is_required: bool,
        bodies: Bodies,
        allowance: Allowance | None = None,
    ) -> None:
        self._app = app
        self._ring = ring
        self._rulebook = rulebook
        self._is_required = is_required
        self._bodies = bodies
        self._allowance = allowance or Allowance()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide on the headers and the path, before anything of the body is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rule = self._rulebook.rule_for(scope)
        with ExitStack() as stack:
            try:
                key = self._key_for(rule, Headers(scope=scope))
                if key is not None and rule.access is not Access.OPEN:
                    stack.enter_context(self._allowance.request(key))
            except PaddockError as error:
                await error_response(error, scope["path"])(scope, receive, send)
                return
            scope.setdefault("state", {}).update(
                caller=_caller(scope, key),
                body_bytes=rule.body_bytes,
                body_hold=stack.enter_context(self._bodies.hold()),
            )
            await self._app(scope, receive, send)

    def _key_for(self, rule: Rule, headers: Headers) -> Key | None:
        """The key that counts; None for none, where none is needed. Unauthorised, Forbidden, StoreError."""
        secrets = list(_secrets(headers))
        key = next(filter(None, map(self._ring.find, secrets)), None)
        if rule.access is Access.OPEN:
            return key
        if key is None and self._is_required:
            raise Unauthorised(WRONG if secrets else MISSING)
        if key is not None and (reach := _reach_of(key)) < rule.access:
            raise Forbidden(TOO_NARROW if reach is Access.MANAGE else TOO_SMALL)
        return key


def _secrets(headers: Headers) -> Iterator[str]:
    """Whatever could be a key. Never anything of the address, which proxies and browsers write down."""
    for value in headers.getlist("authorization"):
        kind, _, secret = value.strip().partition(" ")
        if kind.lower() == "bearer" and secret.strip():
            yield secret.strip()
    yield from (value.strip() for value in headers.getlist("x-api-key") if value.strip())


def _reach_of(key: Key) -> Access:
    if key.scope == "infer":
        return Access.INFER
    return Access.MANAGE if key.models else Access.OPERATE


def _caller(scope: Scope, key: Key | None) -> Caller:
    address = scope["client"][0] if scope.get("client") else ""
    if key is None:
        return Caller(address)
    return Caller(address, key.id, key.models, manages=_reach_of(key) >= Access.MANAGE)
