"""A client of a registry: manifests and blobs, read and written, and being let in. It knows no models and no files."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urljoin, urlsplit

import aiohttp

from paddock.errors import NoAccess, NotFound, RemoteFailed
from paddock.store.manifest import MAX_MANIFEST_BYTES
from paddock.store.registry.auth import (
    MAX_TOKEN_BYTES,
    Challenge,
    basic,
    bearer,
    parse_challenge,
    parse_token,
    token_url,
)
from paddock.store.registry.manifest import ACCEPTED_TYPES
from paddock.store.registry.settings import OWN_FILE, RegistrySettings
from paddock.store.registry.source import RegistrySource
from paddock.store.transfer.patience import Interrupted
from paddock.store.transfer.reach import Reach, reach_of
from paddock.store.transfer.remote_file import RemoteFile
from paddock.store.transfer.web import Body, Data, Web, range_header

_NO_ACCESS = (401, 403)


@dataclass(frozen=True)
class Upload:
    """A blob that a registry has begun to take."""

    url: str
    """Where the next bytes go; each answer names it anew."""
    least_chunk_bytes: int = 0
    """More than 0 where the registry demands pieces, none but the last of them smaller than this."""


class RegistryClient:
    """Requests about one repository. Whatever may be tried again raises Interrupted; the rest is told to the user."""

    def __init__(self, source: RegistrySource, web: Web) -> None:
        self._source = source
        self._web = web
        self._base = f"{source.endpoint}/v2/{quote(source.repository)}"
        self._own = bearer(source.credentials.token) if source.credentials.token else {}
        self._signing_in = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, source: RegistrySource, settings: RegistrySettings, reach: Reach | None = None
    ) -> AsyncGenerator[RegistryClient, None]:
        """A client for the time of the block."""
        reach = reach or await reach_of(source.endpoint, peer=f"The registry {source.host}")
        async with Web.open(source.endpoint, reach, settings.stall_seconds) as web:
            yield cls(source, web)

    @property
    def peer(self) -> str:
        """What messages call the registry."""
        return self._web.peer

    async def manifest(self) -> bytes:
        """The manifest, byte by byte. NotFound, NoAccess, RemoteFailed or Interrupted."""
        url = f"{self._base}/manifests/{quote(self._source.tag)}"
        async with self._asked("GET", url, {"Accept": ", ".join(ACCEPTED_TYPES)}) as response:
            if response.status != 200:
                raise self._refusal(response)
            data = await self._web.read(response, MAX_MANIFEST_BYTES)
            self._check_digest(response, data)
            return data

    def _check_digest(self, response: aiohttp.ClientResponse, data: bytes) -> None:
        told = response.headers.get("Docker-Content-Digest", "")
        if told.startswith("sha256:") and told != f"sha256:{hashlib.sha256(data).hexdigest()}":
            raise Interrupted(f"the manifest that came from {self._source.host} is not the one that was announced")

    @contextlib.asynccontextmanager
    async def blob(self, file: RemoteFile, start: int, stop: int) -> AsyncGenerator[Body, None]:
        """The bytes of a blob from `start` to `stop`, or, where the registry does not do that, all of them."""
        url = f"{self._base}/blobs/sha256:{file.sha256}"
        async with self._asked("GET", url, range_header(start, stop, file.size_bytes)) as response:
            if response.status == 404:
                raise RemoteFailed(
                    f"{self.peer} lists a blob of {self._source}, but does not have it; try again later."
                )
            if response.status not in (200, 206, 416):
                raise self._refusal(response)
            yield self._web.body(response, file, start, stop)

    async def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        async with self._asked("HEAD", f"{self._base}/blobs/{digest}") as response:
            if response.status in (200, 404):
                return response.status == 200
            raise self._refusal(response, writes=True)

    async def begin_upload(self, digest: str, mounted_from: str = "") -> Upload | None:
        """Begin to send a blob; None if the registry took it from another of its repositories, `mounted_from`."""
        query = f"?{urlencode({'mount': digest, 'from': mounted_from})}" if mounted_from else ""
        async with self._asked("POST", f"{self._base}/blobs/uploads/{query}", data=bytes) as response:
            if response.status == 201 and mounted_from:
                return None
            if response.status != 202:
                raise self._refusal(response, writes=True)
            return Upload(self._location(response, ""), _least_chunk(response))

    async def send_whole(self, upload: Upload, digest: str, size_bytes: int, data: Callable[[], Data]) -> bool:
        """Send all of a blob at once. False if the registry demands pieces instead."""
        async with self._sent("PUT", _with_digest(upload.url, digest), size_bytes, data) as response:
            if response.status in (405, 411, 413, 416, 501):
                return False
            if response.status not in (200, 201, 204):
                raise self._refusal(response, writes=True)
            return True

    async def send_piece(self, upload: Upload, start: int, size_bytes: int, data: Callable[[], Data]) -> Upload:
        """Send the next bytes of a blob."""
        wanted = {"Content-Range": f"{start}-{start + size_bytes - 1}"}
        async with self._sent("PATCH", upload.url, size_bytes, data, wanted) as response:
            if response.status == 416:
                raise Interrupted(f"{self._source.host} has another part of the blob than was sent before")
            if response.status not in (200, 201, 202, 204):
                raise self._refusal(response, writes=True)
            return Upload(self._location(response, upload.url), upload.least_chunk_bytes)

    async def sent_bytes(self, upload: Upload) -> tuple[Upload, int]:
        """Where an upload that was interrupted stands: how much the registry has. NotFound if it is none any more."""
        async with self._asked("GET", upload.url) as response:
            if response.status not in (200, 202, 204):
                raise self._refusal(response, writes=True)
            last = response.headers.get("Range", "").removeprefix("bytes=").rpartition("-")[2]
            sent = int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 16 and last != "0" else 0
            return Upload(self._location(response, upload.url), upload.least_chunk_bytes), sent

    async def finish_upload(self, upload: Upload, digest: str) -> None:
        """Say that all pieces are there."""
        async with self._sent("PUT", _with_digest(upload.url, digest), 0, bytes) as response:
            if response.status not in (200, 201, 204):
                raise self._refusal(response, writes=True)

    async def put_manifest(self, data: bytes, media_type: str) -> None:
        """Write the manifest, byte by byte: the model is there from now on."""
        url = f"{self._base}/manifests/{quote(self._source.tag)}"
        async with self._sent("PUT", url, len(data), lambda: data, {"Content-Type": media_type}) as response:
            if response.status not in (200, 201, 202, 204):
                raise self._refusal(response, writes=True)
            self._check_digest(response, data)

    def _sent(
        self, method: str, url: str, size_bytes: int, data: Callable[[], Data], headers: Mapping[str, str] | None = None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        own = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes), **(headers or {})}
        return self._asked(method, url, own, data)

    @contextlib.asynccontextmanager
    async def _asked(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, data: Callable[[], Data] | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        """The answer to a request, made once more where the registry wants to know first who asks, and again where the
        token is worn out by then. Only what is read is asked for elsewhere where it points there."""
        for is_last in (False, False, True):
            shown = self._own
            asking = (
                self._web.follow(method, url, headers or {}, shown)
                if data is None
                else self._web.ask(method, url, headers or {}, shown, data())
            )
            async with asking as response:
                if is_last or response.status != 401 or not self._web.is_own(str(response.url)):
                    yield response
                    return
                header = response.headers.get("WWW-Authenticate", "")
            await self._sign_in(header, shown)

    async def _sign_in(self, header: str, shown: Mapping[str, str]) -> None:
        """Get what this challenge asks for; `shown` is what did not do."""
        async with self._signing_in:
            if self._own is not shown:
                return  # somebody else has meanwhile
            challenge = parse_challenge(header)
            credentials = self._source.credentials
            if challenge is None or (challenge.scheme == "basic" and not credentials.username):
                raise self._no_access()
            self._own = basic(credentials) if challenge.scheme == "basic" else bearer(await self._token(challenge))

    async def _token(self, challenge: Challenge) -> str:
        """As the user, if there is a name and a password, else as nobody in particular."""
        url = token_url(challenge, self._source)
        async with self._web.ask("GET", url, basic(self._source.credentials), {}) as response:
            if response.status in (*_NO_ACCESS, 404):
                raise self._no_access()
            if response.status != 200:
                raise self._web.brief(response) or RemoteFailed(
                    f"{self.peer} gives no token, but answers with status {response.status}."
                )
            return parse_token(self._source, await self._web.read(response, MAX_TOKEN_BYTES))

    def _location(self, response: aiohttp.ClientResponse, before: str) -> str:
        told = response.headers.get("Location", "")
        if not told and not before:
            raise RemoteFailed(f"{self.peer} does not say where a blob should be sent.")
        try:
            return urljoin(str(response.url), told) if told else before
        except ValueError:
            raise RemoteFailed(f"{self.peer} points to an address that cannot be read.") from None

    def _refusal(self, response: aiohttp.ClientResponse, *, writes: bool = False) -> Exception:
        """What an answer that is no success means. Nothing of its body is told."""
        if brief := self._web.brief(response):
            return brief
        if response.status in _NO_ACCESS:
            return self._no_access()
        if response.status == 404:
            what = "does not take" if writes else "has no model"
            return NotFound(f"{self.peer} {what} {self._source}: check the name and the tag.")
        return RemoteFailed(f"{self.peer} refuses {self._source} with status {response.status}.")

    def _no_access(self) -> NoAccess:
        if self._source.credentials:
            return NoAccess(
                f"{self.peer} does not open {self._source} to the username, password or token that it was shown."
            )
        return NoAccess(
            f"{self.peer} does not open {self._source} to whoever asks: give a username and a password, or a token, in "
            f"{OWN_FILE}; the key of an Ollama account cannot be used here."
        )


def _least_chunk(response: aiohttp.ClientResponse) -> int:
    told = response.headers.get("OCI-Chunk-Min-Length", "")
    return int(told) if told.isascii() and told.isdigit() and len(told) < 12 else 0


def _with_digest(url: str, digest: str) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode({'digest': digest})}"
