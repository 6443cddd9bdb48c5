"""A client of the Hub: what a repository holds, and the bytes of a file from any place on. It writes nothing.

It stands on aiohttp and not on huggingface_hub's own download: that one begins anew after a kill, checks no digest,
cannot be cancelled, and follows redirects to anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
from yarl import URL

from paddock import __version__
from paddock.errors import NoAccess, NotFound, RemoteFailed
from paddock.store.hub.listing import MAX_LISTING_BYTES, Listing, RemoteFile, parse_listing
from paddock.store.hub.reach import CheckedResolver, Reach, proxy_for, reach_of
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource

CHUNK_BYTES = 1024 * 1024
CONNECT_SECONDS = 15.0
MOST_REDIRECTS = 5
MOST_PAUSE_SECONDS = 300.0
"""What a Hub that wants to be left alone for a while may ask for at the most."""

_REDIRECTS = (301, 302, 303, 307, 308)
_BRIEF = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another a moment later."""
_NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, ConnectionError)


class Interrupted(Exception):
    """Something that may work when it is tried again. It never leaves this package."""

    def __init__(self, reason: str, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.pause_seconds = pause_seconds
        """How long the Hub wants to be left alone."""


class NoRevision(NotFound):
    """The repository is there, and has no such revision."""


class HubClient:
    """Requests to one Hub. Whatever may be tried again raises Interrupted; the rest is told to the user."""

    def __init__(self, settings: HubSettings, session: aiohttp.ClientSession, reach: Reach) -> None:
        self._settings = settings
        self._session = session
        self._reach = reach
        self._origin = _origin(settings.endpoint)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: HubSettings, reach: Reach | None = None) -> AsyncGenerator[HubClient, None]:
        """A client for the time of the block. RemoteFailed if the endpoint is no web address."""
        if urlsplit(settings.endpoint).scheme not in ("http", "https") or not urlsplit(settings.endpoint).hostname:
            raise RemoteFailed("HF_ENDPOINT must be a web address, such as https://huggingface.co.")
        reach = reach or await reach_of(settings.endpoint)
        resolver = CheckedResolver(aiohttp.ThreadedResolver(), reach)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS, sock_read=settings.stall_seconds, connect=None
        )
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=2 * CHUNK_BYTES,
            headers={"User-Agent": f"paddock/{__version__}", "Accept-Encoding": "identity"},
        ) as session:
            yield cls(settings, session, reach)

    async def listing(self, source: HubSource) -> Listing:
        """What the repository holds at this revision. NotFound, NoRevision, NoAccess, RemoteFailed or Interrupted."""
        path = f"/api/models/{quote(source.repository)}/revision/{quote(source.revision, safe='')}?blobs=true"
        async with self._get(self._settings.endpoint + path) as response:
            if response.status != 200:
                raise self._refusal(response, source)
            return parse_listing(source.repository, await _read(response, MAX_LISTING_BYTES))

    @contextlib.asynccontextmanager
    async def file(self, listing: Listing, file: RemoteFile, start: int) -> AsyncGenerator[Body, None]:
        """The bytes of a file from `start` on, or, where the server does not do that, from its beginning.

        Interrupted for what cannot be right, such as another part than was asked for.
        """
        path = f"/{quote(listing.repository)}/resolve/{listing.commit}/{quote(file.name)}"
        wanted = {"Range": f"bytes={start}-"} if start else {}
        async with self._get(self._settings.endpoint + path, wanted) as response:
            if response.status == 416:
                yield Body(0, response)
                return
            if response.status not in (200, 206):
                raise self._refusal(response, HubSource(listing.repository, listing.commit), file.name)
            _check_whole(response, file)
            yield Body(_first_byte(response, start, file.size_bytes), response)

    @contextlib.asynccontextmanager
    async def _get(
        self, url: str, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """The answer at the end of a chain of redirects."""
        for _ in range(MOST_REDIRECTS + 1):
            response = await self._ask(url, headers or {})
            try:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                url = urljoin(url, response.headers.get("Location", ""))
            finally:
                response.close()  # what was read to its end has given its connection back already
        raise RemoteFailed(f"The Hub points from one address to the next more than {MOST_REDIRECTS} times.")

    async def _ask(self, url: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """One request. The token goes to the Hub's own origin only."""
        self._check(url)
        own = {"Authorization": f"Bearer {self._settings.token}"} if self._may_have_token(url) else {}
        try:
            return await self._session.get(
                URL(url, encoded=True), headers={**headers, **own}, allow_redirects=False, proxy=proxy_for(url)
            )
        except ValueError:
            raise RemoteFailed("The Hub points to an address that cannot be read.") from None
        except _NETWORK_ERRORS as error:
            raise Interrupted(_reason(error)) from error

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        is_own = _origin(url) == self._origin
        if parts.scheme not in ("https", self._origin[0]) or not parts.hostname or (parts.username and not is_own):
            raise RemoteFailed("The Hub points to an address that is not one of the web, or not a safe one.")
        self._reach.check_host(parts.hostname)

    def _may_have_token(self, url: str) -> bool:
        return bool(self._settings.token) and _origin(url) == self._origin

    def _refusal(self, response: aiohttp.ClientResponse, source: HubSource, file: str = "") -> Exception:
        """What an answer that is no success means. Nothing of its body is told."""
        status, code = response.status, response.headers.get("X-Error-Code", "")
        if status in _BRIEF:
            return Interrupted(f"the Hub answered with status {status}", _pause_seconds(response))
        return explained(status, code, source, self._settings, file)


class Body:
    """The bytes of an answer."""

    def __init__(self, start: int, response: aiohttp.ClientResponse) -> None:
        self.start = start
        """Which byte of the file is the first."""
        self._response = response

    async def chunks(self) -> AsyncIterator[bytes]:
        """The bytes as they come. Interrupted when the connection breaks or stalls."""
        if self._response.status == 416:
            return
        try:
            async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
                yield chunk
        except _NETWORK_ERRORS as error:
            raise Interrupted(_reason(error)) from error


def explained(status: int, code: str, source: HubSource, settings: HubSettings, file: str = "") -> Exception:
    """The Hub's refusal as a sentence, by its status and its word for it (`X-Error-Code`)."""
    repository, page = source.repository, f"{settings.endpoint}/{source.repository}"
    if code == "GatedRepo":
        way = (
            "the token that is set has none" if settings.token else "then log in with `hf auth login`, or set HF_TOKEN"
        )
        return NoAccess(f"{repository} is gated: ask for access at {page}; {way}.")
    if code == "RevisionNotFound":
        return NoRevision(f"{repository} has no revision named '{source.revision}'.")
    if code == "EntryNotFound" or (status == 404 and file):
        return RemoteFailed(f"The Hub lists the file {file} of {repository}, but does not have it; try again later.")
    if status == 401 and settings.token and code != "RepoNotFound":
        return NoAccess("The Hub does not take the token that is set: log in anew with `hf auth login`.")
    if status in (401, 404):
        if settings.token:
            return NotFound(f"The Hub has no repository {repository} that the token that is set may read.")
        return NotFound(
            f"The Hub has no repository {repository}, or it is private: check the name, or log in with `hf auth login`."
        )
    if status == 403:
        return NoAccess(f"The Hub does not give {repository} to whoever asks: see {page}.")
    return RemoteFailed(f"The Hub refuses {repository} with status {status}.")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return parts.scheme, (parts.hostname or "").lower(), port


async def _read(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    _check_encoding(response)
    data = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        data += chunk
        if len(data) > most_bytes:
            raise RemoteFailed("The Hub's answer is larger than any that it should give.")
    return bytes(data)


def _check_encoding(response: aiohttp.ClientResponse) -> None:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RemoteFailed("The Hub sends compressed what was asked for as it is; a proxy in between may do that.")


def _check_whole(response: aiohttp.ClientResponse, file: RemoteFile) -> None:
    """An answer with the whole file says the size that the listing says."""
    _check_encoding(response)
    length = response.headers.get("Content-Length")
    if response.status == 200 and length is not None and length != str(file.size_bytes):
        raise Interrupted(f"the Hub sent {length} bytes of {file.name}, which has {file.size_bytes}")


def _first_byte(response: aiohttp.ClientResponse, start: int, size_bytes: int) -> int:
    if response.status == 200:
        return 0
    if response.headers.get("Content-Range", "") != f"bytes {start}-{size_bytes - 1}/{size_bytes}":
        raise Interrupted("the Hub sent another part of the file than was asked for")
    return start


def _pause_seconds(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), MOST_PAUSE_SECONDS) if text.isascii() and text.isdigit() else 0.0


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "nothing came from the Hub for too long"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "the Hub cannot be reached"
    return "the connection to the Hub broke off"
