"""A registry: a real HTTP server with the protocol of Docker's and Ollama's, a CDN, tokens, and faults on demand.

Blobs are kept by digest in one place, and each repository has a set of those that are its own, so that a blob of
another has to be mounted. Where `cdn_from_bytes` says so, blobs are answered by a redirect to another port, which is
another origin.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.fakes.listening import started

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CHUNK_BYTES = 65536
_PATH = re.compile(r"/v2/(?P<repository>.+?)/(?P<kind>manifests|blobs/uploads|blobs)/(?P<rest>[^/]*)")


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Seen:
    """A request."""

    method: str
    where: str
    """registry | cdn | token"""
    path: str
    headers: dict[str, str]
    body_bytes: int = 0


@dataclass
class Rules:
    """How the registry lets people in."""

    is_closed: bool = False
    """Every request needs a token, or a name and a password where `wants_basic`."""
    gives_anonymous: bool = True
    users: Mapping[str, str] = field(default_factory=dict)
    """Passwords by name; tokens for writing are given to these only."""
    wants_basic: bool = False
    realm: str = ""
    """Where it says that tokens are given; its own address if empty."""
    token_lives: int = 1_000_000
    """How many requests a token is good for."""


@dataclass
class Faults:
    """What goes wrong. What is called takes a digest, and the attempt at it from 1."""

    break_after: Callable[[str, int], int | None] = lambda digest, attempt: None
    """After how many bytes of the answer the connection is reset."""
    wrong_bytes: Callable[[str, int], bool] = lambda digest, attempt: False
    ignores_range: bool = False
    wrong_range: bool = False
    refuses_range: bool = False
    """416 for every range."""
    endless: bool = False
    """Bodies of manifests and blobs go on without end, and tell no length."""
    statuses: list[int] = field(default_factory=list)
    """Given, one each, to the next requests in place of an answer."""
    redirect: Callable[[web.BaseRequest], str | None] = lambda request: None
    """Where a blob is redirected to instead."""
    hold: asyncio.Event | None = None
    """If set to an event, blobs of some size stop half way until it happens."""
    held_from_bytes: int = 100_000
    seconds_per_chunk: float = 0.0
    break_upload_after: Callable[[str, int], int | None] = lambda method, attempt: None
    """After how many bytes of a body of PUT or PATCH the connection is reset."""
    wrong_content_digest: bool = False
    link_lives: int = 1_000_000
    """For how many requests an address at the CDN is good."""


class FakeRegistry:
    """The server, in the running loop. `host` is what stands in names."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.owned: dict[str, set[str]] = defaultdict(set)
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.rules = Rules()
        self.faults = Faults()
        self.least_chunk_bytes = 0
        """Told by OCI-Chunk-Min-Length; pieces must be as large, and nothing is taken whole."""
        self.largest_whole_bytes = 1 << 60
        self.cdn_from_bytes = 1 << 60
        self.mounts = True
        self.seen: list[Seen] = []
        self.sent: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.links: Counter[str] = Counter()
        """Requests by address at the CDN."""
        self.uploads: dict[str, bytearray] = {}
        self.tokens: dict[str, tuple[str, int]] = {}
        """The scope and the requests that are left, by token."""
        self.url = ""
        self.cdn = ""
        self.holding = asyncio.Event()
        """Happens when a blob has stopped half way."""

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def add_blob(self, repository: str, data: bytes) -> str:
        digest = digest_of(data)
        self.blobs[digest] = data
        self.owned[repository].add(digest)
        return digest

    def add_manifest(self, repository: str, tag: str, data: bytes, media_type: str = MANIFEST_TYPE) -> None:
        self.manifests[repository, tag] = (data, media_type)

    def add_model(self, repository: str, tag: str, manifest: bytes, blobs: Mapping[str, bytes]) -> None:
        """A manifest with its blobs by digest, as a store has them."""
        self.blobs.update(blobs)
        self.owned[repository].update(blobs)
        self.add_manifest(repository, tag, manifest)

    def asked(self, method: str, part: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and part in seen.path]

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[FakeRegistry]:
        registry = cls()
        runner, registry.url = await started(registry._registry)
        cdn_runner, registry.cdn = await started(registry._cdn)
        try:
            yield registry
        finally:
            await runner.cleanup()
            await cdn_runner.cleanup()

    def _note(self, request: web.BaseRequest, where: str) -> Seen:
        self.seen.append(Seen(request.method, where, request.raw_path, dict(request.headers)))
        return self.seen[-1]

    async def _registry(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return self._token(request)
        seen = self._note(request, "registry")
        if self.faults.statuses:
            return web.Response(status=self.faults.statuses.pop(0))
        match = _PATH.fullmatch(request.path)
        if match is None:
            return web.Response(status=404)
        repository, kind, rest = match["repository"], match["kind"], match["rest"]
        if (refused := self._refused(request, repository)) is not None:
            await request.read()
            return refused
        if kind == "manifests":
            return await self._manifest(request, repository, rest)
        if kind == "blobs":
            return await self._blob(request, repository, rest)
        return await self._upload(request, repository, rest, seen)

    def _refused(self, request: web.BaseRequest, repository: str) -> web.Response | None:
        writes = request.method in ("POST", "PUT", "PATCH")
        shown = request.headers.get("Authorization", "")
        if not self.rules.is_closed and not (writes and self.rules.users):
            return None
        if self.rules.wants_basic:
            return (
                None
                if self._user(shown)
                else web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="here"'})
            )
        scope = f"repository:{repository}:{'pull,push' if writes else 'pull'}"
        granted, left = self.tokens.get(shown.removeprefix("Bearer "), ("", 0))
        if granted.startswith(scope) and left > 0:
            self.tokens[shown.removeprefix("Bearer ")] = (granted, left - 1)
            return None
        realm = self.rules.realm or f"{self.url}/token"
        told = f'Bearer realm="{realm}",service="fake",scope="{scope}"'
        return web.Response(status=401, headers={"WWW-Authenticate": told}, text="secret words of the registry")

    def _user(self, shown: str) -> str:
        if not shown.startswith("Basic "):
            return ""
        name, _, password = base64.b64decode(shown.removeprefix("Basic ")).decode().partition(":")
        return name if self.rules.users.get(name, secrets.token_hex()) == password else ""

    def _token(self, request: web.BaseRequest) -> web.Response:
        self._note(request, "token")
        shown, scope = request.headers.get("Authorization", ""), request.query.get("scope", "")
        user = self._user(shown)
        is_allowed = bool(user) if shown or scope.endswith("push") or not self.rules.gives_anonymous else True
        if not is_allowed:
            return web.Response(status=401, text="secret words of the registry")
        token = secrets.token_hex(8)
        self.tokens[token] = (scope, self.rules.token_lives)
        return web.json_response({"token": token})

    async def _manifest(self, request: web.BaseRequest, repository: str, tag: str) -> web.StreamResponse:
        if request.method == "PUT":
            data = await request.read()
            named = re.findall(r'"digest":\s*"(sha256:[0-9a-f]{64})"', data.decode())
            if not set(named) <= self.owned[repository]:
                return web.Response(status=400)
            self.add_manifest(repository, tag, data, request.headers["Content-Type"])
            return web.Response(status=201, headers={"Docker-Content-Digest": digest_of(data)})
        if (repository, tag) not in self.manifests:
            return web.Response(status=404, text="secret words of the registry")
        data, media_type = self.manifests[repository, tag]
        if self.faults.endless:
            return await self._write_endlessly(request)
        told = digest_of(b"other" if self.faults.wrong_content_digest else data)
        return web.Response(body=data, headers={"Content-Type": media_type, "Docker-Content-Digest": told})

    async def _blob(self, request: web.BaseRequest, repository: str, digest: str) -> web.StreamResponse:
        data = self.blobs.get(digest)
        if data is None or digest not in self.owned[repository]:
            return web.Response(status=404)
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": str(len(data))})
        if elsewhere := self.faults.redirect(request):
            return web.Response(status=307, headers={"Location": elsewhere})
        if len(data) >= self.cdn_from_bytes:
            return web.Response(status=307, headers={"Location": f"{self.cdn}/{digest}?signed={secrets.token_hex(8)}"})
        return await self._send(request, data, digest)

    async def _cdn(self, request: web.BaseRequest) -> web.StreamResponse:
        self._note(request, "cdn")
        self.links[request.raw_path] += 1
        if self.links[request.raw_path] > self.faults.link_lives:
            return web.Response(status=403)
        digest = request.path.strip("/")
        data = self.blobs.get(digest)
        return web.Response(status=404) if data is None else await self._send(request, data, digest)

    async def _send(self, request: web.BaseRequest, data: bytes, digest: str) -> web.StreamResponse:
        self.attempts[digest] += 1
        attempt = self.attempts[digest]
        wanted = request.headers.get("Range", "")
        if wanted and self.faults.refuses_range:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
        if self.faults.endless:
            return await self._write_endlessly(request)
        start, stop, status, headers = 0, len(data), 200, {}
        if wanted and not self.faults.ignores_range:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop, status = int(first), int(last) + 1 if last else len(data), 206
            shown = start + 1 if self.faults.wrong_range else start
            headers = {"Content-Range": f"bytes {shown}-{stop - 1}/{len(data)}"}
        body = data[start:stop]
        if body and self.faults.wrong_bytes(digest, attempt):
            body = bytes([body[0] ^ 1]) + body[1:]
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        most = self.faults.break_after(digest, attempt)
        await self._write(response, body if most is None else body[:most], digest)
        if most is not None and most < len(body):
            await asyncio.sleep(0)
            assert request.transport is not None
            request.transport.close()
        return response

    async def _write(self, response: web.StreamResponse, body: bytes, digest: str) -> None:
        for start in range(0, len(body), CHUNK_BYTES):
            if self.faults.hold is not None and len(body) >= self.faults.held_from_bytes and start >= len(body) // 2:
                self.holding.set()
                await self.faults.hold.wait()
            if self.faults.seconds_per_chunk:
                await asyncio.sleep(self.faults.seconds_per_chunk)
            chunk = body[start : start + CHUNK_BYTES]
            await response.write(chunk)
            self.sent[digest] += len(chunk)

    async def _write_endlessly(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": MANIFEST_TYPE})
        await response.prepare(request)
        while True:
            await response.write(b" " * CHUNK_BYTES)

    async def _upload(self, request: web.BaseRequest, repository: str, upload: str, seen: Seen) -> web.StreamResponse:
        if request.method == "POST":
            return self._begin(request, repository)
        if upload not in self.uploads:
            return web.Response(status=404)
        if request.method == "GET":
            return web.Response(status=204, headers=self._stands(repository, upload))
        digest, come = request.query.get("digest", ""), self.uploads[upload]
        length = int(request.headers["Content-Length"])
        if request.method == "PUT" and length and (length > self.largest_whole_bytes or self.least_chunk_bytes):
            await request.read()
            return web.Response(status=413)
        if request.method == "PATCH" and request.headers["Content-Range"].partition("-")[0] != str(len(come)):
            await request.read()
            return web.Response(status=416, headers=self._stands(repository, upload))
        self.attempts[request.method] += 1
        if not await self._take(request, come, seen):
            assert request.transport is not None
            request.transport.close()
            return web.Response(status=500)
        if request.method == "PATCH":
            return web.Response(status=202, headers=self._stands(repository, upload))
        if digest_of(bytes(come)) != digest:
            return web.Response(status=400)
        self.add_blob(repository, bytes(come))
        del self.uploads[upload]
        return web.Response(status=201, headers={"Location": f"/v2/{repository}/blobs/{digest}"})

    def _begin(self, request: web.BaseRequest, repository: str) -> web.Response:
        mounted, source = request.query.get("mount", ""), request.query.get("from", "")
        if self.mounts and mounted in self.owned.get(source, ()):
            self.owned[repository].add(mounted)
            return web.Response(status=201, headers={"Location": f"/v2/{repository}/blobs/{mounted}"})
        upload = secrets.token_hex(8)
        self.uploads[upload] = bytearray()
        told = {"OCI-Chunk-Min-Length": str(self.least_chunk_bytes)} if self.least_chunk_bytes else {}
        return web.Response(status=202, headers={**self._stands(repository, upload), **told})

    def _stands(self, repository: str, upload: str) -> dict[str, str]:
        come = len(self.uploads[upload])
        return {"Location": f"/v2/{repository}/blobs/uploads/{upload}?state={come}", "Range": f"0-{max(come - 1, 0)}"}

    async def _take(self, request: web.BaseRequest, come: bytearray, seen: Seen) -> bool:
        """False if the connection is to break."""
        most = self.faults.break_upload_after(request.method, self.attempts[request.method])
        async for chunk in request.content.iter_chunked(CHUNK_BYTES):
            if most is not None and seen.body_bytes + len(chunk) > most:
                return False
            seen.body_bytes += len(chunk)
            come += chunk
        return True
