"""A Hugging Face Hub: a real HTTP server with the endpoints that the real clients use, a CDN, and faults on demand.

Every file that is `large` is answered by a redirect to the CDN, which has another port and so is another origin.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.fakes.listening import started

LARGE_BYTES = 400
"""Files from this size on are stored as large ones; the real limit is 10 MB."""

HELD_BYTES = 100_000
"""Files from this size on stop half way where that is asked for."""


@functools.lru_cache
def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@functools.lru_cache
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    """Commits by revision, each with its files."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    card: dict[str, object] = field(default_factory=dict)
    is_gated: bool = False
    is_private: bool = False

    def commit(self, files: dict[str, bytes], revision: str = "main") -> str:
        """Add a commit, and move the branch to it."""
        told = "".join(f"{name}{sha256(data)}" for name, data in sorted(files.items()))
        commit = hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.revisions[revision] = self.revisions[commit] = commit
        return commit


@dataclass
class Seen:
    """A request."""

    method: str
    where: str
    """hub | cdn"""
    path: str
    headers: dict[str, str]


@dataclass
class Faults:
    """What goes wrong. Whatever is called takes the request and may give an answer of its own."""

    break_after: Callable[[str, int], int | None] = lambda name, attempt: None
    """By content and attempt, from 1: after how many bytes of the answer the connection is reset."""
    wrong_bytes: Callable[[str, int], bool] = lambda name, attempt: False
    ignores_range: bool = False
    wrong_range: bool = False
    compressed: bool = False
    statuses: list[int] = field(default_factory=list)
    """Given, one each, to the next requests in place of an answer."""
    retry_after: str = ""
    redirect: Callable[[web.Request], str | None] = lambda request: None
    """Where a file is redirected to instead."""
    listed_too: list[dict[str, object]] = field(default_factory=list)
    """Further entries of listings, as they are."""
    hold: asyncio.Event | None = None
    """If set to an event, files stop half way until it happens."""


class FakeHub:
    """The server, in the running loop. `endpoint` is what HF_ENDPOINT would be."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.token = "hf_secret"
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.sent: Counter[str] = Counter()
        """Bytes of bodies by content."""
        self.attempts: Counter[str] = Counter()
        self.endpoint = ""
        self.cdn = ""
        self.holding = asyncio.Event()
        """Happens when a file has stopped half way."""

    def repository(self, name: str, files: dict[str, bytes], **facts: object) -> Repository:
        made = self.repositories[name] = Repository(**facts)  # type: ignore[arg-type]
        made.commit(files)
        return made

    @classmethod
    @asynccontextmanager
    async def running(cls) -> AsyncIterator[FakeHub]:
        hub = cls()
        hub_runner, hub.endpoint = await started(hub._hub)
        cdn_runner, hub.cdn = await started(hub._cdn)
        try:
            yield hub
        finally:
            await hub_runner.cleanup()
            await cdn_runner.cleanup()

    def _note(self, request: web.Request, where: str) -> None:
        self.seen.append(Seen(request.method, where, request.raw_path, dict(request.headers)))

    async def _hub(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self._note(request, "hub")  # type: ignore[arg-type]
        if self.faults.statuses:
            headers = {"Retry-After": self.faults.retry_after} if self.faults.retry_after else {}
            return web.Response(status=self.faults.statuses.pop(0), headers=headers)
        parts = request.rel_url.path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._api(request, parts[2:])
        if len(parts) >= 5 and parts[2] == "resolve":
            return await self._resolve(request, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return web.Response(status=404)

    def _refused(self, name: str, request: web.BaseRequest, *, is_file: bool) -> web.Response | None:
        found, token = self.repositories.get(name), request.headers.get("Authorization", "")
        has_token = token == f"Bearer {self.token}"
        if token and not has_token:
            return _error(401, "", "Invalid credentials in Authorization header")
        if found is None or (found.is_private and not has_token):
            return _error(404 if has_token else 401, "RepoNotFound", "Repository not found")
        if found.is_gated and is_file:
            return _error(403 if has_token else 401, "GatedRepo", "Access to model is restricted")
        return None

    def _api(self, request: web.BaseRequest, parts: list[str]) -> web.Response:
        name = "/".join(parts[:2])
        if refused := self._refused(name, request, is_file=False):
            return refused
        found = self.repositories[name]
        revision = "/".join(parts[3:]) if len(parts) > 3 else "main"
        if revision not in found.revisions:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        commit = found.revisions[revision]
        files = found.commits[commit]
        if parts[2:3] == ["tree"]:
            return web.json_response([_leaf(path, data) for path, data in files.items()])
        siblings = [*(_sibling(path, data) for path, data in files.items()), *self.faults.listed_too]
        body = {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "cardData": found.card}
        headers = {"Content-Encoding": "gzip"} if self.faults.compressed else {}
        return web.Response(text=json.dumps(body), content_type="application/json", headers=headers)

    async def _resolve(self, request: web.BaseRequest, name: str, revision: str, path: str) -> web.StreamResponse:
        if refused := self._refused(name, request, is_file=True):
            return refused
        found = self.repositories[name]
        if revision not in found.revisions:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        commit = found.revisions[revision]
        data = found.commits[commit].get(path)
        if data is None:
            return _error(404, "EntryNotFound", "Entry not found")
        is_large = len(data) >= LARGE_BYTES
        etag = sha256(data) if is_large else git_id(data)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"'}
        if elsewhere := self.faults.redirect(request):  # type: ignore[arg-type]
            return web.Response(status=302, headers={**headers, "Location": elsewhere})
        if is_large:
            linked = {"X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(data))}
            return web.Response(status=302, headers={**headers, **linked, "Location": f"{self.cdn}/{etag}?signed=1"})
        return await self._send(request, data, etag, headers)

    async def _cdn(self, request: web.BaseRequest) -> web.StreamResponse:
        self._note(request, "cdn")  # type: ignore[arg-type]
        wanted = request.rel_url.path.strip("/")
        for repository in self.repositories.values():
            for files in repository.commits.values():
                for data in files.values():
                    if sha256(data) == wanted:
                        return await self._send(request, data, wanted, {"ETag": f'"{wanted}"'})
        return web.Response(status=404)

    async def _send(
        self, request: web.BaseRequest, data: bytes, etag: str, headers: dict[str, str]
    ) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(data))})
        self.attempts[etag] += 1
        attempt = self.attempts[etag]
        wanted = request.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        start, stop = int(wanted.partition("-")[0]), int(wanted.partition("-")[2] or len(data) - 1) + 1
        if start >= len(data) > 0:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
        if "Range" in request.headers and not self.faults.ignores_range:
            shown = start + 1 if self.faults.wrong_range else start
            headers = {**headers, "Content-Range": f"bytes {shown}-{stop - 1}/{len(data)}"}
            status = 206
        else:
            start, stop, status = 0, len(data), 200
        body = data[start:stop]
        if self.faults.wrong_bytes(etag, attempt):
            body = bytes([body[0] ^ 1]) + body[1:]
        return await self._write(request, body, etag, status, headers, self.faults.break_after(etag, attempt))

    async def _write(
        self, request: web.BaseRequest, body: bytes, etag: str, status: int, headers: dict[str, str], most: int | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        sent = 0
        end = len(body) if most is None else min(most, len(body))
        while sent < end:
            if self.faults.hold is not None and len(body) >= HELD_BYTES and sent >= len(body) // 2:
                self.holding.set()
                await self.faults.hold.wait()
            chunk = body[sent : min(end, sent + 65536, max(len(body) // 2, sent + 1) if sent < len(body) // 2 else end)]
            await response.write(chunk)
            sent += len(chunk)
            self.sent[etag] += len(chunk)
        if most is not None and most < len(body):
            await asyncio.sleep(0)
            assert request.transport is not None
            request.transport.close()
        return response


def _error(status: int, code: str, message: str) -> web.Response:
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return web.json_response({"error": message}, status=status, headers=headers)


def _sibling(path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"rfilename": path, "size": len(data), "blobId": git_id(data)}
    if len(data) >= LARGE_BYTES:
        entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 135}
    return entry


def _leaf(path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": git_id(data)}
    if len(data) >= LARGE_BYTES:
        entry["lfs"] = {"oid": sha256(data), "size": len(data), "pointerSize": 135}
    return entry
