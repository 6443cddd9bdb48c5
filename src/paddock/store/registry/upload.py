"""One blob sent to a registry: at once, or in pieces where the registry demands them or the line breaks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from paddock.errors import DamagedModel, NotFound
from paddock.store.durable import told_plainly
from paddock.store.registry.client import RegistryClient, Upload
from paddock.store.transfer.partial import in_thread
from paddock.store.transfer.patience import Interrupted, Patience
from paddock.store.transfer.web import CHUNK_BYTES

_HASHED_AT_ONCE_BYTES = 64 * 1024 * 1024

Tell = Callable[[int], None]
"""Takes how many bytes of the blob are there."""


@dataclass(frozen=True)
class Outgoing:
    """A blob to send."""

    path: Path
    digest: str
    size_bytes: int
    mounted_from: str = ""
    """Another repository of the registry that may have it."""


class Uploader:
    """Sends blobs through one client."""

    def __init__(self, client: RegistryClient, backoff_seconds: float, chunk_bytes: int) -> None:
        self._client = client
        self._backoff_seconds = backoff_seconds
        self._chunk_bytes = chunk_bytes

    async def send(self, blob: Outgoing, tell: Tell) -> None:
        """Return when the registry has the blob. DamagedModel if it is damaged here; RemoteFailed, NoAccess."""
        patience = Patience(self._backoff_seconds, what="upload")
        is_checked = is_in_pieces = False
        while True:
            try:
                if await self._client.has_blob(blob.digest):
                    break
                upload = await self._client.begin_upload(blob.digest, blob.mounted_from)
                if upload is None:
                    break
                if not is_checked:
                    await _check(blob)
                    is_checked = True
                is_in_pieces = is_in_pieces or upload.least_chunk_bytes > 0
                if await self._sent(upload, blob, tell, patience, is_in_pieces=is_in_pieces):
                    break
                is_in_pieces = True
            except Interrupted as error:
                is_in_pieces = True  # which can be gone on with
                await patience.after(error)
        tell(blob.size_bytes)

    async def _sent(
        self, upload: Upload, blob: Outgoing, tell: Tell, patience: Patience, *, is_in_pieces: bool
    ) -> bool:
        """False if it has to be sent in pieces."""
        if is_in_pieces:
            await self._send_pieces(upload, blob, tell, patience)
            return True
        return await self._client.send_whole(
            upload, blob.digest, blob.size_bytes, lambda: _read(blob, 0, blob.size_bytes, tell)
        )

    async def _send_pieces(self, upload: Upload, blob: Outgoing, tell: Tell, patience: Patience) -> None:
        piece_bytes, at = max(self._chunk_bytes, upload.least_chunk_bytes), 0
        while at < blob.size_bytes:
            size_bytes, begin = min(piece_bytes, blob.size_bytes - at), at
            try:
                upload = await self._client.send_piece(
                    upload,
                    at,
                    size_bytes,
                    lambda: _read(blob, begin, begin + size_bytes, tell),  # noqa: B023
                )
                at += size_bytes
            except Interrupted as error:
                await patience.after(error)
                upload, at = await self._stands(upload)
        await self._client.finish_upload(upload, blob.digest)

    async def _stands(self, upload: Upload) -> tuple[Upload, int]:
        """How far the registry has come. Interrupted if it knows nothing of it any more."""
        try:
            return await self._client.sent_bytes(upload)
        except NotFound:
            raise Interrupted("the registry has forgotten what was sent to it") from None


async def _read(blob: Outgoing, start: int, stop: int, tell: Tell) -> AsyncGenerator[bytes, None]:
    """The bytes of a blob from `start` to `stop`; counted when they are taken."""
    with told_plainly(), blob.path.open("rb") as file:
        file.seek(start)
        while start < stop:
            chunk = await in_thread(file.read, min(CHUNK_BYTES, stop - start))
            if not chunk:
                raise _damaged()
            yield chunk
            start += len(chunk)
            tell(start)


async def _check(blob: Outgoing) -> None:
    """Nothing is sent under a name that is not its own."""
    found = hashlib.sha256()
    with told_plainly(), blob.path.open("rb") as file:
        while await in_thread(_hash_some, file, found):
            pass
    if f"sha256:{found.hexdigest()}" != blob.digest:
        raise _damaged()


def _hash_some(file: BinaryIO, found: hashlib._Hash) -> bool:
    for _ in range(_HASHED_AT_ONCE_BYTES // CHUNK_BYTES):
        chunk = file.read(CHUNK_BYTES)
        if not chunk:
            return False
        found.update(chunk)
    return True


def _damaged() -> DamagedModel:
    return DamagedModel("One of the model's files is damaged, so it is not pushed: create or pull the model again.")
