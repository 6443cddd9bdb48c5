"""Requests to one server, and to wherever it points: who may be connected to, who is shown credentials, how much is
read. What goes over the lines is known to the clients that stand on this.

It stands on aiohttp and not on the libraries of those who run such servers: these begin anew after a kill, check no
digest, cannot be cancelled, or follow redirects to anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from paddock import __version__
from paddock.errors import RemoteFailed
from paddock.store.transfer.patience import Interrupted, Unreachable
from paddock.store.transfer.reach import CheckedResolver, Reach, proxy_for
from paddock.store.transfer.remote_file import RemoteFile

CHUNK_BYTES = 1024 * 1024
CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 60.0
"""How long an answer that is read at once may take in all."""
MOST_REDIRECTS = 5
MOST_PAUSE_SECONDS = 300.0
"""What a server that wants to be left alone for a while may ask for at the most."""

_REDIRECTS = (301, 302, 303, 307, 308)
_BRIEF = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be another a moment later."""
_NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, ConnectionError)

Data = bytes | AsyncIterator[bytes] | None
"""The body of a request."""


class Web:
    """Requests on behalf of one server, the peer. Whatever may be tried again raises Interrupted."""

    def __init__(self, endpoint: str, session: aiohttp.ClientSession, reach: Reach) -> None:
        self._session = session
        self._reach = reach
        self._origin = origin_of(endpoint)
        self._ends: dict[str, str] = {}
        """Where chains of redirects for files ended, by where they began."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, endpoint: str, reach: Reach, stall_seconds: float) -> AsyncGenerator[Web, None]:
        """For the time of the block. `stall_seconds` is how long no byte may come before a connection is given up."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=stall_seconds, connect=None)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=CheckedResolver(aiohttp.ThreadedResolver(), reach)),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=2 * CHUNK_BYTES,
            headers={"User-Agent": f"paddock/{__version__}", "Accept-Encoding": "identity"},
        ) as session:
            yield cls(endpoint, session, reach)

    @property
    def peer(self) -> str:
        """What messages call the server."""
        return self._reach.peer

    def is_own(self, url: str) -> bool:
        """Whether a URL is one of the server's own origin: scheme, host and port."""
        return origin_of(url) == self._origin

    @contextlib.asynccontextmanager
    async def follow(
        self, method: str, url: str, headers: Mapping[str, str], own: Mapping[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """The answer at the end of a chain of redirects; headers in `own` go to the server's own origin only.

        Where a chain for a part of a file ended, the next part is asked for, so that a server that points to another
        for each file is asked once for each, not for each of its parts.
        """
        is_part = "Range" in headers
        known_end = self._ends.pop(url, "") if is_part else ""
        place = known_end or url
        for _ in range(MOST_REDIRECTS + 1):
            async with self.ask(method, place, headers, own) as response:
                if response.status in _REDIRECTS:
                    place = self._next(place, response)
                    continue
                if is_part and place != url and response.status == 206:
                    self._ends[url] = place
                elif known_end:
                    raise Interrupted(f"{self._sentence_peer} has moved the file")
                yield response
                return
        raise RemoteFailed(f"{self.peer} points from one address to the next more than {MOST_REDIRECTS} times.")

    @contextlib.asynccontextmanager
    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], own: Mapping[str, str], data: Data = None
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """One request, and its answer whatever that is."""
        try:
            self._check(url)
            every = {**headers, **own} if self.is_own(url) else dict(headers)
            response = await self._session.request(
                method, URL(url, encoded=True), headers=every, data=data, allow_redirects=False, proxy=proxy_for(url)
            )
        except ValueError:
            raise self._unreadable() from None
        except _NETWORK_ERRORS as error:
            raise self._interrupted(error) from error
        try:
            yield response
        finally:
            response.close()  # what was read to its end has given its connection back already

    def _next(self, url: str, response: aiohttp.ClientResponse) -> str:
        try:
            return urljoin(url, response.headers.get("Location", ""))
        except ValueError:
            raise self._unreadable() from None

    def _unreadable(self) -> RemoteFailed:
        return RemoteFailed(f"{self.peer} points to an address that cannot be read.")

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        is_own = self.is_own(url)
        if parts.scheme not in ("https", self._origin[0]) or not parts.hostname or (parts.username and not is_own):
            raise RemoteFailed(f"{self.peer} points to an address that is not one of the web, or not a safe one.")
        self._reach.check_host(parts.hostname)

    async def read(self, response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
        """A whole answer. RemoteFailed if it is larger than that or compressed."""
        self._check_encoding(response)
        data = bytearray()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    data += chunk
                    if len(data) > most_bytes:
                        raise RemoteFailed(f"{self.peer}'s answer is larger than any that it should give.")
        except _NETWORK_ERRORS as error:
            raise self._interrupted(error) from error
        return bytes(data)

    def brief(self, response: aiohttp.ClientResponse) -> Interrupted | None:
        """The error for an answer that may be another a moment later; None for others."""
        if response.status not in _BRIEF:
            return None
        return Interrupted(f"{self._sentence_peer} answered with status {response.status}", _pause_seconds(response))

    def body(self, response: aiohttp.ClientResponse, file: RemoteFile, start: int, stop: int) -> Body:
        """The bytes of a file in an answer of status 200, 206 or 416 to a request for those from `start` to `stop`.

        Interrupted for what cannot be right, such as another part than was asked for.
        """
        if response.status == 416:
            return Body(0, response, self)
        self._check_encoding(response)
        if response.status == 200:
            length = response.headers.get("Content-Length")
            if length is not None and length != str(file.size_bytes):
                raise Interrupted(
                    f"{self._sentence_peer} sent {length[:20]} bytes of {file.name}, which has {file.size_bytes}"
                )
            return Body(0, response, self)
        if response.headers.get("Content-Range", "") != f"bytes {start}-{stop - 1}/{file.size_bytes}":
            raise Interrupted(f"{self._sentence_peer} sent another part of the file than was asked for")
        return Body(start, response, self)

    def _check_encoding(self, response: aiohttp.ClientResponse) -> None:
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RemoteFailed(
                f"{self.peer} sends compressed what was asked for as it is; a proxy in between may do that."
            )

    @property
    def _sentence_peer(self) -> str:
        """The peer within a sentence."""
        return self.peer[:1].lower() + self.peer[1:]

    def _interrupted(self, error: BaseException) -> Interrupted:
        if isinstance(error, asyncio.TimeoutError):
            return Interrupted(f"nothing came from {self._sentence_peer} for too long")
        if isinstance(error, aiohttp.ClientSSLError):
            return Unreachable(f"{self._sentence_peer} has no https, or no certificate for it that is in order")
        if isinstance(error, aiohttp.ClientConnectorError):
            return Unreachable(f"{self._sentence_peer} cannot be reached")
        return Interrupted(f"the connection to {self._sentence_peer} broke off")


class Body:
    """The bytes of an answer."""

    def __init__(self, start: int, response: aiohttp.ClientResponse, web: Web) -> None:
        self.start = start
        """Which byte of the file is the first."""
        self.is_part = response.status == 206
        """Whether this is the part that was asked for, and not the whole file or nothing."""
        self._response = response
        self._web = web

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they come. Interrupted when the connection breaks or stalls."""
        if self._response.status == 416:
            return
        try:
            async for chunk in self._response.content.iter_chunked(CHUNK_BYTES):
                yield chunk
        except _NETWORK_ERRORS as error:
            raise self._web._interrupted(error) from error


def range_header(start: int, stop: int, size_bytes: int) -> dict[str, str]:
    """The header that asks for the bytes from `start` to `stop`; none where that is everything."""
    if start == 0 and stop == size_bytes:
        return {}
    return {"Range": f"bytes={start}-{'' if stop == size_bytes else stop - 1}"}


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; a port that is no number is 0."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    return parts.scheme, (parts.hostname or "").lower(), port


def _pause_seconds(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), MOST_PAUSE_SECONDS) if text.isascii() and text.isdigit() else 0.0
