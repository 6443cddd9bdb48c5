"""Blobs: files named by the SHA-256 of what they hold. One has its name only after its content was checked."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from paddock.errors import BadRequest, InvalidName, NotFound, StoreFull
from paddock.store.durable import FOLDER_MODE, full_told, reserve, sync_file, sync_folder, told_plainly, write_all
from paddock.store.leases import Lease
from paddock.store.names import parse_digest
from paddock.store.stamps import Stamps

CHUNK_BYTES = 1024 * 1024
_BLOB_MODE = 0o444
_PARTIAL = "-partial-"
_PREFIX = "sha256-"
_NAME_LENGTH = len(_PREFIX) + 64


@dataclass(frozen=True)
class Blob:
    """A blob that is in the store."""

    digest: str
    size: int
    """In bytes."""
    is_new: bool
    """False when the store had it already."""


class BlobWriter:
    """A blob on its way in: hashed while it is written, and given its name by `commit`. Its file is locked meanwhile,
    so that one that nobody has locked is known to be a dead one's."""

    def __init__(
        self, blobs: Blobs, expected_digest: str | None, partial: Path, size_bytes: int, lease: Lease | None
    ) -> None:
        self._blobs = blobs
        self._expected_digest = expected_digest
        self._partial = partial
        self._expected_bytes = size_bytes
        self._lease = lease
        self._file = _new_and_locked(partial)
        self._hash = hashlib.sha256()
        self._size = 0

    def reserve(self) -> None:
        """Set room aside for what is expected; StoreFull, telling how much is short, where there is not so much."""
        with told_plainly(), full_told(self._partial.parent, self._expected_bytes):
            reserve(self._file.fileno(), self._expected_bytes)

    def write(self, chunk: bytes) -> None:
        """Append a chunk; StoreFull when the disk is full, telling how much is short of the rest."""
        left_bytes = max(self._expected_bytes - self._size, len(chunk))
        with told_plainly(), full_told(self._partial.parent, left_bytes):
            write_all(self._file, chunk)
        self._hash.update(chunk)
        self._size += len(chunk)

    def commit(self) -> Blob:
        """Check the digest, make the bytes durable and give them their name.

        BadRequest when they are not what was announced; then nothing stays behind.
        """
        digest = f"sha256:{self._hash.hexdigest()}"
        if self._expected_digest not in (None, digest):
            raise BadRequest(f'digest mismatch, expected "{self._expected_digest}", got "{digest}"')
        if self._lease is not None:
            self._lease.add((digest,))
        is_new = not self._blobs.has(digest)
        with told_plainly(), full_told(self._partial.parent, self._size):
            os.fchmod(self._file.fileno(), _BLOB_MODE)
            sync_file(self._file.fileno())
            self._partial.replace(self._blobs.path(digest))
            self._file.close()
            sync_folder(self._partial.parent)
        self._blobs.stamp(digest)
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
        self._stamps = Stamps(root)
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
        with _there(digest):
            status = self.path(digest).lstat()
        if not stat.S_ISREG(status.st_mode):
            raise blob_not_found(digest)
        return status.st_size

    def read(self, digest: str, most_bytes: int) -> bytes:
        """A small blob's content; NotFound, or BadRequest when it is larger than it may be."""
        if self.size(digest) > most_bytes:
            raise BadRequest(f'blob "{digest}" is too large for its purpose: at most {most_bytes} bytes.')
        with _there(digest):
            return self.path(digest).read_bytes()

    @contextlib.contextmanager
    def writer(
        self, expected_digest: str | None = None, size_bytes: int = 0, lease: Lease | None = None
    ) -> Iterator[BlobWriter]:
        """Write a blob in chunks; without `commit` nothing stays. Any number may write the same one at once.

        `size_bytes` are expected, where that is known. A lease holds the blob before it has its name.
        """
        expected = parse_digest(expected_digest) if expected_digest is not None else None
        stem = expected.replace(":", "-") if expected else "sha256-unknown"
        partial = self._folder / f"{stem}{_PARTIAL}{secrets.token_hex(8)}"
        with told_plainly(), full_told(self._folder, size_bytes):
            writer = BlobWriter(self, expected, partial, size_bytes, lease)
        try:
            yield writer
        finally:
            writer.discard()

    def add_bytes(self, data: bytes, lease: Lease | None = None) -> Blob:
        """Store some bytes."""
        with self.writer(lease=lease) as writer:
            writer.write(data)
            return writer.commit()

    def add_file(self, path: Path, lease: Lease | None = None) -> Blob:
        """Store a copy of a file. Never a link: whoever owns the file may write to it later."""
        with told_plainly(), path.open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            with self.writer(size_bytes=size_bytes, lease=lease) as writer:
                writer.reserve()
                while chunk := file.read(CHUNK_BYTES):
                    writer.write(chunk)
                return writer.commit()

    def take(self, path: Path, digest: str, size_bytes: int) -> Blob:
        """Make a file of the same file system a blob, by giving it its name. Its content was checked by the caller, and
        is on the disk."""
        is_new = not self.has(digest)
        with told_plainly():
            path.replace(self.path(digest))
            self.path(digest).chmod(_BLOB_MODE)
            sync_folder(self._folder)
        self.stamp(digest)
        return Blob(digest, size_bytes, is_new)

    def link(self, path: Path, digest: str) -> Blob:
        """Make a file that somebody else has a name for as well a blob, as which it was just checked.

        Whoever that is may write to it. It is looked at again before it is used (`is_changed`), and its mode stays.
        """
        is_new = not self.has(digest)
        with told_plainly():
            self._stamps.put(digest, path.stat(), is_durable=True)
            path.replace(self.path(digest))
            sync_folder(self._folder)
        return Blob(digest, self.size(digest), is_new)

    def stamp(self, digest: str) -> None:
        """Note that a blob was just checked. Whether that succeeds makes no difference to what it is."""
        with contextlib.suppress(OSError, StoreFull):
            self._stamps.put(digest, self.path(digest).stat())

    def renew(self, digest: str) -> None:
        """Make a blob as young as if it had just come: somebody was told that it is there, and may come to use it."""
        with contextlib.suppress(OSError):  # another user's file, or gone
            status = self.path(digest).stat()
            os.utime(self.path(digest), ns=(time.time_ns(), status.st_mtime_ns))  # and thereby its time of change

    def is_changed(self, digest: str) -> bool:
        """Whether a blob has other content than when it came; reads all of it where that may be. NotFound."""
        path = self.path(digest)
        with _there(digest):
            status = path.stat()
            if self._stamps.holds(digest, status):
                return False
            if not self.is_intact(digest):
                return True
            self._stamps.put(digest, status, is_durable=True)
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
            self._stamps.forget(digest)

    def digests(self) -> set[str]:
        """Of all blobs that have a name. OSError."""
        names = os.listdir(self._folder)  # noqa: PTH208 - a listing of a thousand models reads thousands
        return {f"sha256:{name[len(_PREFIX) :]}" for name in names if len(name) == _NAME_LENGTH}

    def present(self) -> Iterator[tuple[str, os.stat_result]]:
        """The digests of all blobs, and what their files are like."""
        for path in self._folder.iterdir():
            with contextlib.suppress(InvalidName, FileNotFoundError):
                yield parse_digest(path.name), path.lstat()

    def dead_uploads(self) -> Iterator[Path]:
        """The files of uploads that nobody writes any more."""
        for path in self._folder.glob(f"sha256-*{_PARTIAL}*"):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                yield path

    def remove_upload(self, path: Path) -> None:
        """Remove the file of an upload that nobody writes any more, unless somebody has just begun to."""
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            path.unlink()


@contextlib.contextmanager
def _there(digest: str) -> Iterator[None]:
    """Turn errors into StoreError, and into NotFound where somebody has just removed the blob."""
    with told_plainly():
        try:
            yield
        except FileNotFoundError:
            raise blob_not_found(digest) from None


def _new_and_locked(path: Path) -> FileIO:
    """A new file that is locked. Before it was, somebody may have taken it for a dead one's and removed it."""
    while True:
        file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            return file
        file.close()


def blob_not_found(digest: str) -> NotFound:
    """The error for a blob that nobody has uploaded."""
    return NotFound(f'blob "{digest}" not found')
