"""Blobs: files named by the SHA-256 of what they hold. One has its name only after its content was checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import BadRequest, NotFound
from paddock.store.durable import FOLDER_MODE, sync_file, sync_folder, told_plainly
from paddock.store.linked import Linked
from paddock.store.names import parse_digest

CHUNK_BYTES = 1024 * 1024
_BLOB_MODE = 0o444
_PARTIAL = "-partial-"


@dataclass(frozen=True)
class Blob:
    """A blob that is in the store."""

    digest: str
    size: int
    """In bytes."""
    is_new: bool
    """False when the store had it already."""


class BlobWriter:
    """A blob on its way in: hashed while it is written, and given its name by `commit`."""

    def __init__(self, blobs: Blobs, expected_digest: str | None, partial: Path) -> None:
        self._blobs = blobs
        self._expected_digest = expected_digest
        self._partial = partial
        self._file = partial.open("xb")
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Append a chunk; StoreError when the disk is full."""
        with told_plainly():
            self._file.write(chunk)
        self._hash.update(chunk)
        self._size += len(chunk)

    def commit(self) -> Blob:
        """Check the digest, make the bytes durable and give them their name.

        BadRequest when they are not what was announced; then nothing stays behind.
        """
        digest = f"sha256:{self._hash.hexdigest()}"
        if self._expected_digest not in (None, digest):
            raise BadRequest(f'digest mismatch, expected "{self._expected_digest}", got "{digest}"')
        is_new = not self._blobs.has(digest)
        with told_plainly():
            self._file.flush()
            os.fchmod(self._file.fileno(), _BLOB_MODE)
            sync_file(self._file.fileno())
            self._file.close()
            self._partial.replace(self._blobs.path(digest))
            sync_folder(self._partial.parent)
        return Blob(digest, self._size, is_new)

    def discard(self) -> None:
        """Remove what was not committed. Idempotent."""
        with contextlib.suppress(OSError):  # a full disk may refuse even the last flush
            self._file.close()
        self._partial.unlink(missing_ok=True)


class Blobs:
    """The folder of blobs below the root of the store."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "blobs"
        self._linked = Linked(root)
        with told_plainly():
            self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where a blob is or would be; InvalidName for anything that is no digest."""
        return self._folder / parse_digest(digest).replace(":", "-")

    def has(self, digest: str) -> bool:
        """Whether the blob is there, as a regular file."""
        try:
            return stat.S_ISREG(self.path(digest).lstat().st_mode)
        except FileNotFoundError:
            return False

    def size(self, digest: str) -> int:
        """Bytes of a blob; NotFound when it is not there."""
        if not self.has(digest):
            raise blob_not_found(digest)
        return self.path(digest).stat().st_size

    def read(self, digest: str, most_bytes: int) -> bytes:
        """A small blob's content; NotFound, or BadRequest when it is larger than it may be."""
        if self.size(digest) > most_bytes:
            raise BadRequest(f'blob "{digest}" is too large for its purpose: at most {most_bytes} bytes.')
        with told_plainly():
            return self.path(digest).read_bytes()

    @contextlib.contextmanager
    def writer(self, expected_digest: str | None = None) -> Iterator[BlobWriter]:
        """Write a blob in chunks; without `commit` nothing stays. Any number may write the same one at once."""
        expected = parse_digest(expected_digest) if expected_digest is not None else None
        stem = expected.replace(":", "-") if expected else "sha256-unknown"
        with told_plainly():
            writer = BlobWriter(self, expected, self._folder / f"{stem}{_PARTIAL}{secrets.token_hex(8)}")
        try:
            yield writer
        finally:
            writer.discard()

    def add_bytes(self, data: bytes) -> Blob:
        """Store some bytes."""
        with self.writer() as writer:
            writer.write(data)
            return writer.commit()

    def add_file(self, path: Path) -> Blob:
        """Store a copy of a file. Never a link: whoever owns the file may write to it later."""
        with told_plainly(), path.open("rb") as file, self.writer() as writer:
            while chunk := file.read(CHUNK_BYTES):
                writer.write(chunk)
            return writer.commit()

    def take(self, path: Path, digest: str, size_bytes: int) -> Blob:
        """Make a file of the same file system a blob, by giving it its name. Its content was checked by the caller, and
        is on the disk."""
        is_new = not self.has(digest)
        with told_plainly():
            path.replace(self.path(digest))
            self._linked.forget(digest)
            self.path(digest).chmod(_BLOB_MODE)
            sync_folder(self._folder)
        return Blob(digest, size_bytes, is_new)

    def link(self, path: Path, digest: str) -> Blob:
        """Make a file that somebody else has a name for as well a blob, as which it was just checked.

        Whoever that is may write to it. It is looked at again before it is used (`is_changed`), and its mode stays.
        """
        is_new = not self.has(digest)
        with told_plainly():
            self._linked.note(digest, path.stat())
            path.replace(self.path(digest))
            sync_folder(self._folder)
        return Blob(digest, self.size(digest), is_new)

    def is_changed(self, digest: str) -> bool:
        """Whether a blob that is a link has other content than when it came; reads all of it where that may be."""
        path = self.path(digest)
        with told_plainly():
            status = path.stat()
            if self._linked.is_as_noted(digest, status):
                return False
            if not self.is_intact(digest):
                return True
            self._linked.note(digest, status)
        return False

    def is_intact(self, digest: str) -> bool:
        """Whether the blob's content is what its name says; reads all of it."""
        if not self.has(digest):
            return False
        with told_plainly(), self.path(digest).open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == parse_digest(digest)

    def remove(self, digest: str) -> None:
        """Forget a blob. Whoever has it open, or has a link to it, keeps it. Idempotent."""
        with told_plainly():
            self.path(digest).unlink(missing_ok=True)
            self._linked.forget(digest)

    def keep_only(self, digests: set[str], older_than_seconds: float) -> int:
        """Remove other blobs and unfinished uploads that have not changed for so long; returns their bytes."""
        kept = {self.path(digest).name for digest in digests}
        newest = time.time() - older_than_seconds
        freed_bytes = 0
        with told_plainly():
            for path in self._folder.iterdir():
                status = path.lstat()
                if path.name.startswith("sha256-") and path.name not in kept and status.st_mtime < newest:
                    path.unlink()
                    if _PARTIAL not in path.name:
                        self._linked.forget(path.name)
                    freed_bytes += status.st_size
        return freed_bytes


def blob_not_found(digest: str) -> NotFound:
    """The error for a blob that nobody has uploaded."""
    return NotFound(f'blob "{digest}" not found')
