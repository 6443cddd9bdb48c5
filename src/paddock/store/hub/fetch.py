"""One file of a repository brought into the store: from what is here already, or from the Hub, whatever goes wrong on
the way being tried again a bounded number of times."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from paddock.errors import RemoteFailed
from paddock.store.blobs import Blob
from paddock.store.hub.adopt import adopt, candidates
from paddock.store.hub.client import HubClient, Interrupted
from paddock.store.hub.listing import Listing, RemoteFile
from paddock.store.hub.partial import Partial, Partials, Writing, in_thread
from paddock.store.hub.settings import HubSettings
from paddock.store.library import Library

MOST_FAILURES = 6
"""In a row. One that brought `WORTH_BYTES` before it begins a new row, so that a bad line ends too, if slowly."""
WORTH_BYTES = 8 * 1024 * 1024
MOST_WRONG = 2
"""How often a whole file may come with other bytes than were announced."""
LONGEST_PAUSE_SECONDS = 30.0

Tell = Callable[[int], None]
"""Takes how many bytes of the file are here."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Patience:
    """How often something may still fail, and the pauses in between."""

    def __init__(self, backoff_seconds: float) -> None:
        self._backoff_seconds = backoff_seconds
        self._failures = 0
        self._gained_bytes = 0

    async def after(self, error: Interrupted, gained_bytes: int = 0) -> None:
        """Wait until it is time to try again. RemoteFailed when it has failed too often."""
        self._gained_bytes += gained_bytes
        if self._gained_bytes >= WORTH_BYTES:
            self._failures = self._gained_bytes = 0
        self._failures += 1
        _log.info("interrupted, attempt %d: %s", self._failures, error.reason)
        if self._failures >= MOST_FAILURES:
            raise RemoteFailed(
                f"The download failed {MOST_FAILURES} times in a row, as {error.reason}; pull again to go on from "
                "where it is."
            )
        pause = min(self._backoff_seconds * 2 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(max(pause * random.uniform(0.5, 1.0), error.pause_seconds))


async def retried(work: Callable[[], Awaitable[_Result]], backoff_seconds: float) -> _Result:
    """What `work` gives, tried again while it is Interrupted. RemoteFailed in the end."""
    patience = Patience(backoff_seconds)
    while True:
        try:
            return await work()
        except Interrupted as error:
            await patience.after(error)


class Fetcher:
    """Brings files of one repository at one commit into a library. `client` is None where the Hub is not asked."""

    def __init__(self, library: Library, settings: HubSettings, listing: Listing, client: HubClient | None) -> None:
        self._library = library
        self._settings = settings
        self._listing = listing
        self._client = client
        self._partials = Partials(library.root)

    async def bring(self, file: RemoteFile, tell: Tell) -> Blob:
        """The file as a blob whose content was checked. RemoteFailed, NoAccess or StoreError."""
        if found := self._stored(file):
            return found
        async with self._partials.claim(file) as partial:
            found = self._stored(file) or await self._adopted(file)
            if found is None:
                await self._download(file, partial, tell)
                found = await in_thread(partial.commit, self._library.blobs)
        return found

    def _stored(self, file: RemoteFile) -> Blob | None:
        digest, blobs = f"sha256:{file.sha256}", self._library.blobs
        if not file.sha256 or not blobs.has(digest) or blobs.size(digest) != file.size_bytes:
            return None
        return None if blobs.is_changed(digest) else Blob(digest, file.size_bytes, is_new=False)

    async def _adopted(self, file: RemoteFile) -> Blob | None:
        for path in candidates(self._settings, self._listing, file):
            blob = await adopt(path, file, self._library.blobs, self._library.root)
            if blob is not None:
                return blob
            _log.warning("a file of another program is not what it should be, and is passed over: %s", file.name)
        return None

    async def _download(self, file: RemoteFile, partial: Partial, tell: Tell) -> None:
        await partial.load()
        tell(partial.size_bytes)
        for _ in range(MOST_WRONG):
            await self._fill(file, partial, tell)
            if partial.is_right:
                return
            _log.warning("%s came with other bytes than were announced, and is fetched again", file.name)
            await in_thread(partial.restart)
        raise RemoteFailed(
            f"The Hub sends other bytes of {file.name} than it announces: nothing of it is kept; try again later."
        )

    async def _fill(self, file: RemoteFile, partial: Partial, tell: Tell) -> None:
        """Fetch until as many bytes are here as there should be."""
        patience = Patience(self._settings.backoff_seconds)
        while (start := partial.size_bytes) < file.size_bytes:
            try:
                await self._stream(file, partial, tell)
                if partial.size_bytes < file.size_bytes:
                    raise Interrupted("the connection to the Hub ended early")
            except Interrupted as error:
                await patience.after(error, max(partial.size_bytes - start, 0))

    async def _stream(self, file: RemoteFile, partial: Partial, tell: Tell) -> None:
        if self._client is None:
            raise RemoteFailed(f"The Hub cannot be asked, and this machine lacks {file.name} of the model.")
        async with self._client.file(self._listing, file, partial.size_bytes) as body:
            if body.start != partial.size_bytes:
                await in_thread(partial.restart)
            received_bytes = partial.size_bytes
            async with Writing.to(partial) as writing:
                async for chunk in body.chunks():
                    received_bytes += len(chunk)
                    if received_bytes > file.size_bytes:
                        break
                    await writing.put(chunk)
                    tell(partial.size_bytes)
            if received_bytes > file.size_bytes:
                await in_thread(partial.restart)
                raise Interrupted(f"more came of {file.name} than there is")
            tell(partial.size_bytes)
