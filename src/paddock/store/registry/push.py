"""One push to a registry: each blob that it lacks, then the manifest, byte by byte as it is stored."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from paddock.errors import InvalidName
from paddock.store.library import Library, StoredModel
from paddock.store.manifest import MANIFEST_TYPE, TENSOR_TYPE, Manifest
from paddock.store.names import ModelName
from paddock.store.registry.client import RegistryClient
from paddock.store.registry.settings import RegistrySettings
from paddock.store.registry.source import RegistrySource
from paddock.store.registry.upload import Outgoing, Uploader
from paddock.store.transfer.partial import in_thread
from paddock.store.transfer.patience import retried
from paddock.store.transfer.progress import Board, Sum
from paddock.store.transfer.reach import Reach
from paddock.store.transfer.together import together

BLOBS_AT_ONCE = 4


class _Kept(msgspec.Struct, rename="camel"):
    """What of the manifest's bytes is asked for besides what `Manifest` knows."""

    media_type: str = ""


@dataclass(frozen=True)
class Order:
    """A model to push, and where its name leads."""

    name: ModelName
    source: RegistrySource

    @property
    def key(self) -> tuple[str, ...]:
        """The same for orders that are the same."""
        return ("push", self.name.key, *self.source.key)


async def push(
    library: Library, order: Order, settings: RegistrySettings, board: Board, reach: Reach | None = None
) -> None:
    """Push a model, telling each step to the board in Ollama's words. Whoever pulls it sees the old one, or the new one
    whole: the manifest goes last.

    NotFound, DamagedModel, NoAccess, RemoteFailed, StoreError. When it is cancelled, the registry keeps the blobs that
    it has.
    """
    board.say("retrieving manifest")
    model = await in_thread(library.get, order.name)
    async with library.hold(model), RegistryClient.open(order.source, settings, reach) as client:
        data = await in_thread(library.manifest_bytes, order.name)
        manifest = Manifest.parse(data)
        await in_thread(library.files, model)
        uploader = Uploader(client, settings.backoff_seconds, settings.chunk_bytes)
        teller = _Teller(manifest, board)

        async def send(blob: Outgoing) -> None:
            await uploader.send(blob, lambda sent_bytes: teller.tell(blob, sent_bytes))

        await together(send, _outgoing(library, manifest, _mounted_from(model, order)), BLOBS_AT_ONCE)
        board.say("pushing manifest")
        media_type = msgspec.json.decode(data, type=_Kept).media_type or MANIFEST_TYPE
        await retried(lambda: client.put_manifest(data, media_type), settings.backoff_seconds)
    board.say("success")


def _outgoing(library: Library, manifest: Manifest, mounted_from: str) -> list[Outgoing]:
    blobs = {layer.digest: layer for layer in manifest.blobs}
    files = {layer.digest for layer in manifest.files}
    return [
        Outgoing(library.blobs.path(digest), digest, layer.size, mounted_from if digest in files else "")
        for digest, layer in blobs.items()
    ]


def _mounted_from(model: StoredModel, order: Order) -> str:
    """The repository that the model's parent has in the same registry, which may have most of its blobs."""
    try:
        parent = ModelName.parse(model.parent_model)
    except InvalidName:
        return ""
    repository = f"{parent.namespace}/{parent.model}"
    is_same_host = parent.host.lower() == order.name.host.lower()
    return repository if is_same_host and repository != order.source.repository else ""


class _Teller:
    """Tells of each blob, but of tensors only all together."""

    def __init__(self, manifest: Manifest, board: Board) -> None:
        self._tensors = Sum(board, "pushing", {layer.digest: layer.size for layer in manifest.of_type(TENSOR_TYPE)})
        self._names = {layer.digest: layer.name or "" for layer in manifest.files}
        self._board = board

    def tell(self, blob: Outgoing, sent_bytes: int) -> None:
        """So much of a blob is there."""
        if blob.digest in self._tensors:
            self._tensors.tell(blob.digest, sent_bytes)
        else:
            name = self._names.get(blob.digest, "")
            self._board.tell(blob.digest, blob.size_bytes, sent_bytes, name, verb="pushing")
