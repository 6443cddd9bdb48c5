"""A client of the Hub: what a repository holds, and the bytes of a file from any place on. It writes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from urllib.parse import quote, urlsplit

import aiohttp

from paddock.errors import NoAccess, NotFound, RemoteFailed
from paddock.store.hub.listing import MAX_LISTING_BYTES, Listing, parse_listing
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.transfer.reach import Reach, reach_of
from paddock.store.transfer.remote_file import RemoteFile
from paddock.store.transfer.web import Body, Web, range_header

PEER = "The Hub"


class NoRevision(NotFound):
    """The repository is there, and has no such revision."""


class HubClient:
    """Requests to one Hub. Whatever may be tried again raises Interrupted; the rest is told to the user."""

    def __init__(self, settings: HubSettings, web: Web) -> None:
        self._settings = settings
        self._web = web
        self._own = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: HubSettings, reach: Reach | None = None) -> AsyncGenerator[HubClient, None]:
        """A client for the time of the block. RemoteFailed if the endpoint is no web address."""
        if urlsplit(settings.endpoint).scheme not in ("http", "https") or not urlsplit(settings.endpoint).hostname:
            raise RemoteFailed("HF_ENDPOINT must be a web address, such as https://huggingface.co.")
        reach = reach or await reach_of(settings.endpoint, peer=PEER)
        async with Web.open(settings.endpoint, reach, settings.stall_seconds) as web:
            yield cls(settings, web)

    async def listing(self, source: HubSource) -> Listing:
        """What the repository holds at this revision. NotFound, NoRevision, NoAccess, RemoteFailed or Interrupted."""
        path = f"/api/models/{quote(source.repository)}/revision/{quote(source.revision, safe='')}?blobs=true"
        async with self._web.follow("GET", self._settings.endpoint + path, {}, self._own) as response:
            if response.status != 200:
                raise self._refusal(response, source)
            return parse_listing(source.repository, await self._web.read(response, MAX_LISTING_BYTES))

    @contextlib.asynccontextmanager
    async def file(
        self, listing: Listing, file: RemoteFile, start: int, stop: int | None = None
    ) -> AsyncGenerator[Body, None]:
        """The bytes of a file from `start` to `stop` or its end, or, where the server does not do that, all of it.

        Interrupted for what cannot be right, such as another part than was asked for.
        """
        stop = file.size_bytes if stop is None else stop
        path = f"/{quote(listing.repository)}/resolve/{listing.commit}/{quote(file.name)}"
        wanted = range_header(start, stop, file.size_bytes)
        async with self._web.follow("GET", self._settings.endpoint + path, wanted, self._own) as response:
            if response.status not in (200, 206, 416):
                raise self._refusal(response, HubSource(listing.repository, listing.commit), file.name)
            yield self._web.body(response, file, start, stop)

    def _refusal(self, response: aiohttp.ClientResponse, source: HubSource, file: str = "") -> Exception:
        """What an answer that is no success means. Nothing of its body is told."""
        code = response.headers.get("X-Error-Code", "")
        return self._web.brief(response) or explained(response.status, code, source, self._settings, file)


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
