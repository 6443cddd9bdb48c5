"""One file brought into the store: from what is here already, or from another server, whatever goes wrong on the way
being tried again a bounded number of times."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import RemoteFailed
from paddock.store.blobs import Blob
from paddock.store.leases import Lease
from paddock.store.library import Library
from paddock.store.transfer.adopt import adopt
from paddock.store.transfer.partial import Partial, Partials, Writing, in_thread
from paddock.store.transfer.patience import Interrupted, Patience
from paddock.store.transfer.ranges import Ahead, NoRanges, Open, in_order
from paddock.store.transfer.remote_file import RemoteFile

MOST_WRONG = 2
"""How often a whole file may come with other bytes than were announced."""
PARTS_FROM = 2
"""From how many parts on a file is fetched in parts."""

Tell = Callable[[int], None]
"""Takes how many bytes of the file are here."""
Nearby = Callable[[RemoteFile], Sequence[Path]]
"""Where this machine may have a file already."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where files come from."""

    peer: str
    """What messages call the server."""
    open: Open | None
    """None where no server is asked."""
    nearby: Nearby
    backoff_seconds: float


class Fetcher:
    """Brings files of one source into a library."""

    def __init__(self, library: Library, source: Source, lease: Lease, ahead: Ahead | None = None) -> None:
        """The lease holds each file's blob from before it is looked for; it is the caller's."""
        self._library = library
        self.lease = lease
        self._source = source
        self._partials = Partials(library.root)
        self._ahead = ahead or Ahead()

    async def bring(self, file: RemoteFile, tell: Tell) -> Blob:
        """The file as a blob whose content was checked, and which is held. RemoteFailed, NoAccess or StoreError."""
        if file.sha256:
            await in_thread(self.lease.add, (f"sha256:{file.sha256}",))
        if found := self._stored(file):
            return found
        async with self._partials.claim(file) as partial:
            found = self._stored(file) or await self._adopted(file)
            if found is None:
                await self._download(file, partial, tell)
                found = await in_thread(partial.commit, self._library.blobs, self.lease)
        return found

    def _stored(self, file: RemoteFile) -> Blob | None:
        digest, blobs = f"sha256:{file.sha256}", self._library.blobs
        if not file.sha256 or not blobs.has(digest) or blobs.size(digest) != file.size_bytes:
            return None
        return None if blobs.is_changed(digest) else Blob(digest, file.size_bytes, is_new=False)

    async def _adopted(self, file: RemoteFile) -> Blob | None:
        for path in self._source.nearby(file):
            blob = await adopt(path, file, self._library.blobs, self._library.root, self.lease)
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
            f"{self._source.peer} sends other bytes of {file.name} than it announces: nothing of it is kept; try again "
            "later."
        )

    async def _fill(self, file: RemoteFile, partial: Partial, tell: Tell) -> None:
        """Fetch until as many bytes are here as there should be."""
        patience = Patience(self._source.backoff_seconds)
        has_ranges = True
        while (start := partial.size_bytes) < file.size_bytes:
            is_long = file.size_bytes - start >= PARTS_FROM * self._ahead.part_bytes
            try:
                if has_ranges and is_long:
                    chunks = in_order(self._open(file), file, start, self._ahead, self._source.backoff_seconds)
                    await self._write(chunks, file, partial, tell)
                else:
                    await self._stream(file, partial, tell)
                if partial.size_bytes < file.size_bytes:
                    raise Interrupted("the connection ended early")
            except NoRanges:
                has_ranges = False
            except Interrupted as error:
                await patience.after(error, max(partial.size_bytes - start, 0))

    async def _stream(self, file: RemoteFile, partial: Partial, tell: Tell) -> None:
        """All that is missing in one answer, or everything where the server gives no less."""
        async with self._open(file)(file, partial.size_bytes, file.size_bytes) as body:
            if body.start != partial.size_bytes:
                await in_thread(partial.restart)
            await self._write(body.chunks(), file, partial, tell)

    async def _write(self, chunks: AsyncGenerator[bytes, None], file: RemoteFile, partial: Partial, tell: Tell) -> None:
        received_bytes = partial.size_bytes
        async with aclosing(chunks), Writing.to(partial) as writing:
            async for chunk in chunks:
                received_bytes += len(chunk)
                if received_bytes > file.size_bytes:
                    break
                await writing.put(chunk)
                tell(partial.size_bytes)
        if received_bytes > file.size_bytes:
            await in_thread(partial.restart)
            raise Interrupted(f"more came of {file.name} than there is")
        tell(partial.size_bytes)

    def _open(self, file: RemoteFile) -> Open:
        if self._source.open is None:
            raise RemoteFailed(f"{self._source.peer} cannot be asked, and this machine lacks {file.name} of the model.")
        return self._source.open
