"""One pull, from a repository's name to a model in the store: resolve, look for room, fetch, vet, name."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Mapping
from dataclasses import dataclass
from functools import partial as with_given
from typing import TypeVar

from paddock.errors import NotFound, RemoteFailed, StoreError
from paddock.store.blobs import Blob
from paddock.store.create import CreateSpec, create
from paddock.store.hub.cache import cached_listing, candidates
from paddock.store.hub.client import PEER, HubClient, NoRevision
from paddock.store.hub.listing import Chosen, Listing, choose
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource
from paddock.store.leases import Lease
from paddock.store.library import Library, StoredModel
from paddock.store.names import ModelName
from paddock.store.stored_config import Origin
from paddock.store.transfer.early import check_early
from paddock.store.transfer.fetch import Fetcher, Source
from paddock.store.transfer.partial import in_thread
from paddock.store.transfer.patience import MOST_ROUNDS, retried
from paddock.store.transfer.progress import Board
from paddock.store.transfer.ranges import Ahead
from paddock.store.transfer.reach import Reach
from paddock.store.transfer.refused import unless_refused
from paddock.store.transfer.remote_file import RemoteFile
from paddock.store.transfer.room import check_room
from paddock.store.transfer.together import together

FILES_AT_ONCE = 4

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Order:
    """What to pull, and the name to store it under."""

    name: ModelName
    source: HubSource

    @property
    def key(self) -> tuple[str, ...]:
        """The same for orders that are the same."""
        return ("hub", self.name.key, str(self.source))


async def pull(
    library: Library, order: Order, settings: HubSettings, board: Board, reach: Reach | None = None
) -> StoredModel:
    """Pull a model, telling each step to the board in Ollama's words. A model that had the name stays until the new
    one is whole; what has come of one that is not finished is gone on with later.

    NotFound, NoAccess, RemoteFailed, StoreError; BadRequest or UnsupportedModel if what the repository holds is no
    model that may run here. When it is cancelled, what has come is kept.
    """
    board.say("pulling manifest")
    async with _client(settings, reach) as client:
        listing = await _resolve(client, settings, order.source)
        source = _source(settings, listing, client)
        chosen = choose(listing)
        await asyncio.to_thread(check_room, library, listing.repository, chosen.everything, source.nearby)
        with library.leases.take() as lease:
            fetcher = Fetcher(library, source, lease, Ahead(part_bytes=settings.part_bytes))
            for _ in range(MOST_ROUNDS):
                blobs = await _fetch(library, fetcher, chosen, board)
                try:
                    return await _finish(library, order, listing, chosen, blobs, board, lease)
                except NotFound:
                    _log.info("a file of %s was damaged while it was pulled, and is fetched again", order.source)
    raise StoreError("What was pulled is damaged on the disk again and again: look at the disk.")


@contextlib.asynccontextmanager
async def _client(settings: HubSettings, reach: Reach | None) -> AsyncGenerator[HubClient | None, None]:
    if settings.is_offline:
        yield None
        return
    async with HubClient.open(settings, reach) as client:
        yield client


async def _resolve(client: HubClient | None, settings: HubSettings, source: HubSource) -> Listing:
    """The repository at one commit, to which everything that follows keeps, wherever its branch moves.

    Where the Hub cannot be reached, the commit that Hugging Face's cache has.
    """
    if client is None:
        error: RemoteFailed = RemoteFailed(
            f"{source} is not on this machine, and HF_HUB_OFFLINE forbids to ask the Hub."
        )
    else:
        try:
            return await _asked(client, settings, source)
        except RemoteFailed as failed:
            if type(failed) is not RemoteFailed:
                raise
            error = failed
    if (cached := await asyncio.to_thread(cached_listing, settings, source)) is None:
        raise error
    _log.warning("the Hub cannot be asked about %s: what its cache on this machine has is taken", source)
    return cached


async def _asked(client: HubClient, settings: HubSettings, source: HubSource) -> Listing:
    try:
        return await retried(with_given(client.listing, source), settings.backoff_seconds)
    except NoRevision:
        if source.packed is None:
            raise
        packed = source.packed
    try:
        return await retried(with_given(client.listing, packed), settings.backoff_seconds)
    except NotFound:
        raise NotFound(
            f"{source.repository} has no revision named '{source.revision}', and there is no {packed}."
        ) from None


def _source(settings: HubSettings, listing: Listing, client: HubClient | None) -> Source:
    return Source(
        peer=PEER,
        open=with_given(client.file, listing) if client else None,
        nearby=with_given(candidates, settings, listing),
        backoff_seconds=settings.backoff_seconds,
    )


async def _fetch(library: Library, fetcher: Fetcher, chosen: Chosen, board: Board) -> dict[str, Blob]:
    """Every file as a blob, by name. The small ones come first, and are looked at before the weights are fetched."""
    small = [file for file in chosen.everything if not file.is_weights]
    weights = [file for file in chosen.files if file.is_weights]
    for file in filter(lambda file: file.sha256, weights):
        board.tell(f"sha256:{file.sha256}", file.size_bytes, 0, file.name)
    blobs = await _fetch_all(fetcher, small, board)
    own = {file.name: blobs[file.name] for file in chosen.files if file.name in blobs}
    await _checked(library, fetcher.lease, own, in_thread(_check_small, library, own))
    return blobs | await _fetch_all(fetcher, weights, board)


async def _fetch_all(fetcher: Fetcher, files: list[RemoteFile], board: Board) -> dict[str, Blob]:
    """By name; the first that fails ends the others, and what they have is kept."""

    async def fetch(file: RemoteFile) -> Blob:
        announced = f"sha256:{file.sha256}"

        def tell(size_bytes: int) -> None:
            if file.sha256:  # of the others, which are small, the digest is known when they are here
                board.tell(announced, file.size_bytes, size_bytes, file.name)

        blob = await fetcher.bring(file, tell)
        board.tell(blob.digest, blob.size, blob.size, file.name)
        return blob

    blobs = await together(fetch, files, FILES_AT_ONCE)
    return {file.name: blob for file, blob in zip(files, blobs, strict=True)}


def _check_small(library: Library, blobs: Mapping[str, Blob]) -> None:
    """What can be refused before the weights are here. All is looked at again, with them, when the model is made."""
    check_early({name: library.blobs.path(blob.digest) for name, blob in blobs.items()})


async def _finish(
    library: Library,
    order: Order,
    listing: Listing,
    chosen: Chosen,
    blobs: Mapping[str, Blob],
    board: Board,
    lease: Lease,
) -> StoredModel:
    """Vet what has come as the files of any new model are, and give it its name."""
    board.say("verifying sha256 digest")
    spec = CreateSpec(
        name=order.name,
        files={file.name: blobs[file.name].digest for file in chosen.files},
        licenses=await asyncio.to_thread(_licenses, library, listing, chosen, blobs),
        origin=Origin(listing.repository, listing.commit),
    )
    board.say("writing manifest")
    model = await _checked(library, lease, blobs, in_thread(create, library, spec, _unheard))
    board.say("success")
    return model


async def _checked(library: Library, lease: Lease, blobs: Mapping[str, Blob], work: Awaitable[_Result]) -> _Result:
    return await unless_refused(work, library, [blob.digest for blob in blobs.values() if blob.is_new], lease)


def _licenses(library: Library, listing: Listing, chosen: Chosen, blobs: Mapping[str, Blob]) -> tuple[str, ...] | None:
    """The licence's text, or else its name on the model's card."""
    if chosen.license_file is not None:
        data = library.blobs.read(blobs[chosen.license_file.name].digest, chosen.license_file.size_bytes)
        if text := data.decode("utf-8", "replace").replace("\0", "").strip():
            return (text,)
    return (listing.license,) if listing.license else None


def _unheard(_: str) -> None:
    """The steps of making a model, which a pull tells in its own words."""
