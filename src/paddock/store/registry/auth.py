"""Being let in by a registry: what its challenge says, and where a token may be asked for. Pure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import msgspec

from paddock.errors import RemoteFailed
from paddock.store.registry.settings import OWN_FILE, Credentials
from paddock.store.registry.source import RegistrySource
from paddock.store.transfer.web import origin_of

MAX_TOKEN_BYTES = 64 * 1024

_SCHEME = re.compile(r"\s*(Bearer|Basic)\b", re.IGNORECASE)
_FIELD = re.compile(r'([A-Za-z_]+)="([^"]*)"')
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Challenge:
    """What a registry wants to see."""

    scheme: str
    """bearer | basic"""
    realm: str = ""
    service: str = ""
    scope: str = ""


class _Answer(msgspec.Struct):
    token: str = ""
    access_token: str = ""


def parse_challenge(header: str) -> Challenge | None:
    """What a `WWW-Authenticate` header says; None for what is neither Bearer nor Basic."""
    scheme = _SCHEME.match(header)
    if scheme is None:
        return None
    said = {name.lower(): value for name, value in _FIELD.findall(header)}
    return Challenge(scheme[1].lower(), said.get("realm", ""), said.get("service", ""), said.get("scope", ""))


def token_url(challenge: Challenge, source: RegistrySource) -> str:
    """Where to ask for a token. RemoteFailed unless that is the registry's own origin, or one that the user has set:
    what is shown there must not be chosen by whoever answers (CVE-2025-51471)."""
    try:
        parts, origin = urlsplit(challenge.realm), origin_of(challenge.realm)
    except ValueError:
        raise _refused(source, "an address that cannot be read") from None
    trusted = [origin_of(source.endpoint), *([origin_of(source.realm)] if source.realm else [])]
    if origin not in trusted or parts.username is not None or parts.password is not None:
        raise _refused(source, parts.hostname or "an address that is none")
    query = urlencode({name: value for name, value in _query(challenge).items() if value})
    return challenge.realm.partition("#")[0] + ("&" if parts.query else "?") + query


def _query(challenge: Challenge) -> dict[str, str]:
    return {"service": challenge.service, "scope": challenge.scope}


def _refused(source: RegistrySource, place: str) -> RemoteFailed:
    shown = place[:100] if place.isprintable() else "another address"
    return RemoteFailed(
        f"The registry {source.host} wants its tokens asked for at {shown}, which is not its own address: that is "
        f"refused unless you set it as its realm in {OWN_FILE}."
    )


def basic(credentials: Credentials) -> dict[str, str]:
    """The header that shows a name and a password; none where there are none."""
    if not credentials.username:
        return {}
    shown = f"{credentials.username}:{credentials.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(shown).decode()}"}


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}


def parse_token(source: RegistrySource, data: bytes) -> str:
    """The token in an answer. RemoteFailed if there is none."""
    try:
        answer = msgspec.json.decode(data, type=_Answer)
    except (ValueError, RecursionError):
        answer = _Answer()
    token = answer.token or answer.access_token
    if not _TOKEN.fullmatch(token):
        raise RemoteFailed(f"The registry {source.host} answers with no token where it should give one.")
    return token
