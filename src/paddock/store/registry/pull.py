"""One pull from a registry: its manifest, what of it is not here yet, a look at all of it, and its name."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from paddock.errors import NoAccess, NotFound, RemoteFailed, StoreError
from paddock.store.blobs import Blob
from paddock.store.leases import Lease
from paddock.store.library import Library, StoredModel
from paddock.store.manifest import Manifest, manifest_digest
from paddock.store.names import ModelName
from paddock.store.registry.client import RegistryClient
from paddock.store.registry.manifest import RemoteManifest, parse_manifest
from paddock.store.registry.ollama_store import nearby, stored_manifest
from paddock.store.registry.settings import RegistrySettings
from paddock.store.registry.source import RegistrySource
from paddock.store.registry.vet import check_said
from paddock.store.transfer.fetch import Fetcher, Source
from paddock.store.transfer.partial import in_thread
from paddock.store.transfer.patience import MOST_ROUNDS, retried
from paddock.store.transfer.progress import Board, Sum
from paddock.store.transfer.ranges import Ahead
from paddock.store.transfer.reach import Reach
from paddock.store.transfer.refused import unless_refused
from paddock.store.transfer.remote_file import RemoteFile
from paddock.store.transfer.room import check_room
from paddock.store.transfer.together import together

BLOBS_AT_ONCE = 4
TENSORS_AT_ONCE = 16
"""Of a model with a blob for each tensor, most of which are small."""
FIRST_FAILURES = 3
"""How often in a row the manifest may fail to come."""

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Order:
    """What to pull, and the name to store it under."""

    name: ModelName
    source: RegistrySource

    @property
    def key(self) -> tuple[str, ...]:
        """The same for orders that are the same."""
        return ("registry", self.name.key, *self.source.key)


async def pull(
    library: Library, order: Order, settings: RegistrySettings, board: Board, reach: Reach | None = None
) -> StoredModel:
    """Pull a model, telling each step to the board in Ollama's words. A model that had the name stays until the new
    one is whole; what has come of one that is not finished is gone on with later.

    NotFound, NoAccess, RemoteFailed, StoreError; BadRequest or UnsupportedModel if it is no model that may run here.
    When it is cancelled, what has come is kept.
    """
    board.say("pulling manifest")
    async with RegistryClient.open(order.source, settings, reach) as client:
        manifest, is_here = await _resolve(client, library, order, settings)
        source = Source(
            peer=client.peer,
            open=None if is_here else client.blob,
            nearby=nearby(settings.ollama_folders, library.root),
            backoff_seconds=settings.backoff_seconds,
        )
        await in_thread(check_room, library, str(order.source), manifest.blobs, source.nearby)
        async with library.leases.held(f"sha256:{file.sha256}" for file in manifest.blobs) as lease:
            fetcher = Fetcher(library, source, lease, Ahead(settings.ahead_bytes, settings.part_bytes))
            return await _Pull(library, order, manifest, fetcher, lease, board).run()


async def _resolve(
    client: RegistryClient, library: Library, order: Order, settings: RegistrySettings
) -> tuple[RemoteManifest, bool]:
    """The manifest, and whether it is that of Ollama's store on this machine, as the registry cannot be reached, or has
    no such model because Ollama has made it here."""
    found: bytes | None = None
    try:
        data = await retried(client.manifest, settings.backoff_seconds, FIRST_FAILURES)
    except (RemoteFailed, NotFound) as failed:
        if not isinstance(failed, NoAccess):
            found = await in_thread(stored_manifest, settings.ollama_folders, library.root, order.name)
        if found is None:
            raise
        data = found
        _log.warning("the registry does not give %s: what Ollama has of it here is taken", order.source)
    return parse_manifest(str(order.source), data), found is not None


class _Pull:
    """A pull whose manifest is known."""

    def __init__(
        self, library: Library, order: Order, manifest: RemoteManifest, fetcher: Fetcher, lease: Lease, board: Board
    ) -> None:
        self._library = library
        self._order = order
        self._manifest = manifest
        self._fetcher = fetcher
        self._lease = lease
        self._board = board
        tensors = manifest.weights if manifest.is_per_tensor else ()
        self._tensors = Sum(board, "pulling", {file.sha256: file.size_bytes for file in tensors})
        self._new: set[str] = set()

    async def run(self) -> StoredModel:
        """Everything from the first blob on."""
        parsed = Manifest.parse(self._manifest.data)
        for _ in range(MOST_ROUNDS):
            try:
                await self._fetch(self._manifest.small, BLOBS_AT_ONCE)
                await self._refusing(in_thread(check_said, self._library, parsed, str(self._order.source)))
                self._announce()
                at_once = TENSORS_AT_ONCE if self._manifest.is_per_tensor else BLOBS_AT_ONCE
                await self._fetch(self._manifest.weights, at_once)
                return await self._finish()
            except NotFound:
                _log.info("a blob of %s was removed while it was pulled, and is fetched again", self._order.source)
        raise StoreError("What was pulled is removed again and again by somebody else: try again later.")

    def _announce(self) -> None:
        """All weights are told of at once, so that whoever looks knows how much is to come."""
        for file in self._manifest.weights:
            self._tell(file, 0)

    async def _fetch(self, files: Sequence[RemoteFile], at_once: int) -> None:
        """The first that fails ends the others, and what they have is kept."""

        async def fetch(file: RemoteFile) -> Blob:
            blob = await self._fetcher.bring(file, lambda come_bytes: self._tell(file, come_bytes))
            if blob.is_new:
                self._new.add(blob.digest)
            self._tell(file, file.size_bytes)
            return blob

        await together(fetch, files, at_once)

    def _tell(self, file: RemoteFile, come_bytes: int) -> None:
        if file.sha256 in self._tensors:
            self._tensors.tell(file.sha256, come_bytes)
        else:
            name = "" if file.sha256.startswith(file.name) else file.name
            self._board.tell(f"sha256:{file.sha256}", file.size_bytes, come_bytes, name)

    async def _refusing(self, work: Awaitable[_Result]) -> _Result:
        return await unless_refused(work, self._library, self._new, self._lease)

    async def _finish(self) -> StoredModel:
        """Look at what has come as at the files of any new model, and give it its name."""
        self._board.say("verifying sha256 digest")
        before = await in_thread(self._digest_before)
        self._board.say("writing manifest")
        model = await self._refusing(in_thread(self._library.put_bytes, self._order.name, self._manifest.data))
        if before not in ("", model.digest):
            self._board.say("removing unused layers")
        self._board.say("success")
        return model

    def _digest_before(self) -> str:
        with contextlib.suppress(NotFound, StoreError):
            return manifest_digest(self._library.manifest_bytes(self._order.name))
        return ""
