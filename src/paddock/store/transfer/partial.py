"""A file on its way in: what has come of it lies under a name that tells its content, so that it is gone on with."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

from paddock.errors import StoreError
from paddock.store.blobs import Blob, Blobs
from paddock.store.durable import (
    BLOCK_BYTES,
    FOLDER_MODE,
    full_told,
    reserve,
    sync_file,
    sync_folder,
    told_plainly,
    write_all,
)
from paddock.store.leases import Lease
from paddock.store.transfer.marks import Marks
from paddock.store.transfer.marks import path_of as marks_of
from paddock.store.transfer.remote_file import RemoteFile
from paddock.store.transfer.syncing import Syncing

FOLDER = "partial"
"""Below the root of the store."""
KEPT_SECONDS = 7 * 24 * 3600.0
"""How long what nobody goes on with is kept."""
REREAD_BYTES = 32 * 1024 * 1024
"""Hashed at once of what is there already; a pull that is cancelled waits for no more."""
MOST_WAITING_BYTES = 4 * 1024 * 1024
"""What may have come of a file and not be written yet."""
LOOK_SECONDS = 0.2
"""How often it is looked whether another process has finished the file."""

_MOST_BYTES_READ = 1024 * 1024
_log = logging.getLogger(__name__)
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


async def in_thread(work: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs) -> _Result:
    """Run blocking work in a thread, as `settled`."""
    return await settled(asyncio.ensure_future(asyncio.to_thread(work, *given, **named)))


async def settled(task: asyncio.Future[_Result]) -> _Result:
    """What a thread's work gives. As it cannot be interrupted, its end is awaited even when this is cancelled."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class _Torn(Exception):
    """A chunk on the disk is not what was written there."""


class Partial:
    """One file's bytes so far, in order from the first, and their hashes. Belongs to one pull at a time."""

    def __init__(self, path: Path, file: RemoteFile, stream: FileIO) -> None:
        self._path = path
        self._file = file
        self._stream = stream
        self._marks = Marks(path)
        self._unmarked: list[bytes] = []
        """What the file hashes to at the ends of chunks that are written, and not durable yet."""
        self._syncing = Syncing(self._mark)
        self._hashes = _Hashes.of(file)
        self._at_chunk = self._hashes.copy()
        """As they were where the last chunk began."""
        self.size_bytes = 0
        """How much is here, and hashed."""

    async def load(self) -> None:
        """Hash what an earlier pull has left, and set room aside for the rest. What may have been lost in a power cut,
        or was, is forgotten. StoreFull, telling how much is short."""
        await in_thread(self._trust)
        while self.size_bytes < self._file.size_bytes and await in_thread(self._hash_some):
            pass
        await in_thread(self._cut)

    def _trust(self) -> None:
        """Of what came before the machine was started, only what is known to have reached the disk."""
        with told_plainly():
            status = os.fstat(self._stream.fileno())
            self._marks.read(status.st_size)
            if status.st_mtime < psutil.boot_time():
                self._stream.truncate(min(status.st_size, self._marks.sure_bytes))

    def _hash_some(self) -> bool:
        with told_plainly():
            for _ in range(REREAD_BYTES // _MOST_BYTES_READ):
                chunk = self._stream.read(min(_MOST_BYTES_READ, self._file.size_bytes - self.size_bytes))
                if not chunk:
                    return False
                try:
                    self._count(chunk)
                except _Torn:
                    self._forget_chunk()
                    return False
        return True

    def _forget_chunk(self) -> None:
        index = self.size_bytes // self._marks.chunk_bytes - 1
        _log.warning("what has come of a file was damaged on the disk after %d chunks, and is fetched again", index)
        self._marks.cut(index)
        self.size_bytes = index * self._marks.chunk_bytes
        self._hashes = self._at_chunk.copy()

    def _cut(self) -> None:
        """Forget what is behind the bytes that were hashed."""
        with told_plainly(), self._full_told():
            self._stream.truncate(self.size_bytes)
            self._stream.seek(self.size_bytes)
            reserve(self._stream.fileno(), self._file.size_bytes)

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write the next bytes; blocks. StoreFull when the disk is full, telling how much is short."""
        for chunk in chunks:
            with told_plainly(), self._full_told():
                try:
                    write_all(self._stream, chunk)
                except OSError:
                    self._retreat()
                    raise
                self._count(chunk)

    def _retreat(self) -> None:
        """After a write that failed, nothing of it may stay."""
        with contextlib.suppress(OSError):
            self._stream.seek(self.size_bytes)
            self._stream.truncate()

    def _full_told(self) -> AbstractContextManager[None]:
        left_bytes, what = self._file.size_bytes - self.size_bytes, f" for {self._file.name}"
        return full_told(self._path.parent, left_bytes, what, "free some space and pull again, what has come is kept")

    def _count(self, data: bytes) -> None:
        """The hashes of what is written; each whole chunk is made durable, and marked, while the next ones come."""
        rest = memoryview(data)
        while rest:
            room = self._marks.chunk_bytes - self.size_bytes % self._marks.chunk_bytes
            part, rest = rest[:room], rest[room:]
            self._hashes.update(part)
            self.size_bytes += len(part)
            if len(part) == room:
                self._end_chunk()

    def _end_chunk(self) -> None:
        found, index = self._hashes.sha256.digest(), self.size_bytes // self._marks.chunk_bytes - 1
        mark = self._marks.at(index)
        if mark is None:
            self._unmarked.append(found)
            self._syncing.ended()
        elif mark != found:
            raise _Torn
        self._at_chunk = self._hashes.copy()

    def _mark(self, count: int) -> None:
        """Make the next chunks durable and mark them; in a thread of its own."""
        sync_file(self._stream.fileno())
        self._marks.add(self._unmarked[:count])
        del self._unmarked[:count]

    def close(self) -> None:
        """Mark all whole chunks that have come, as far as the disk lets it; blocks."""
        self._syncing.finish()

    def restart(self) -> None:
        """Forget everything that has come; blocks."""
        self._syncing.stop()
        self._unmarked.clear()
        self._hashes, self.size_bytes = _Hashes.of(self._file), 0
        self._at_chunk = self._hashes.copy()
        with told_plainly():
            self._marks.cut(0)
            self._stream.seek(0)
            self._stream.truncate()

    @property
    def digest(self) -> str:
        """Of the bytes so far, as a blob's name."""
        return f"sha256:{self._hashes.sha256.hexdigest()}"

    @property
    def is_right(self) -> bool:
        """Whether these are the bytes that were announced."""
        found = (self._hashes.git or self._hashes.sha256).hexdigest()
        return self.size_bytes == self._file.size_bytes and found == self._file.etag

    def commit(self, blobs: Blobs, lease: Lease | None = None) -> Blob:
        """Make right bytes a blob, which a lease holds before it has its name; blocks."""
        assert self.is_right, "nothing gets a name that was not checked"
        if lease is not None:
            lease.add((self.digest,))
        with told_plainly(), self._full_told():
            self._syncing.settle()
            self._syncing.stop()
            sync_file(self._stream.fileno())
        blob = blobs.take(self._path, self.digest, self.size_bytes)
        with told_plainly():
            self._marks.cut(0)
        return blob


@dataclass
class _Hashes:
    """Of a file's bytes so far: its digest, and git's hash where that is what was announced."""

    sha256: hashlib._Hash
    git: hashlib._Hash | None

    @classmethod
    def of(cls, file: RemoteFile) -> _Hashes:
        """Of no bytes yet. Git's hash of a file begins with its size."""
        git = None if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)
        return cls(hashlib.sha256(), git)

    def update(self, data: memoryview) -> None:
        self.sha256.update(data)
        if self.git is not None:
            self.git.update(data)

    def copy(self) -> _Hashes:
        return _Hashes(self.sha256.copy(), self.git.copy() if self.git is not None else None)


class Writing:
    """Writes in a thread what comes meanwhile: a batch is what came while the one before it was written."""

    def __init__(self, partial: Partial) -> None:
        self._partial = partial
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._task: asyncio.Future[None] | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, partial: Partial) -> AsyncGenerator[Writing, None]:
        """What has come by the end of the block, however it ends, is written; raises what `append` does."""
        writing = cls(partial)
        try:
            yield writing
        finally:
            await writing._settle()
            writing._begin()
            await writing._settle()

    async def put(self, chunk: bytes) -> None:
        """The next bytes; waits only while very much is still to be written."""
        self._batch.append(chunk)
        self._batch_bytes += len(chunk)
        if self._task is None or self._task.done() or self._batch_bytes >= MOST_WAITING_BYTES:
            await self._settle()
            self._begin()

    def _begin(self) -> None:
        if self._batch:
            self._task = asyncio.ensure_future(asyncio.to_thread(self._partial.append, self._batch))
            self._batch, self._batch_bytes = [], 0

    async def _settle(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await settled(task)
        except StoreError:
            self._batch, self._batch_bytes = [], 0  # nothing may be written behind a gap
            raise


class Partials:
    """The folder of all that is on its way in."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def room(self, file: RemoteFile) -> int:
        """How many bytes the disk has for a file already, whether they have come or not."""
        try:
            return min(self._path(file).stat().st_blocks * BLOCK_BYTES, file.size_bytes)
        except OSError:
            return 0

    def size(self, file: RemoteFile) -> int:
        """How many bytes of a file are here already."""
        try:
            return min(self._path(file).stat().st_size, file.size_bytes)
        except OSError:
            return 0

    def _path(self, file: RemoteFile) -> Path:
        return self._folder / f"{file.identity}-{file.size_bytes}"

    @contextlib.asynccontextmanager
    async def claim(self, file: RemoteFile) -> AsyncGenerator[Partial, None]:
        """What is here of a file, for this pull alone: waits while another, of whatever process, has it."""
        path = self._path(file)
        with told_plainly():
            if not self._folder.exists():
                self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
                sync_folder(self._folder.parent)
        while (stream := _locked(path)) is None:  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(LOOK_SECONDS)
        partial = Partial(path, file, stream)
        try:
            yield partial
        finally:
            try:
                await in_thread(partial.close)
            finally:
                self._release(path, stream)

    def _release(self, path: Path, stream: FileIO) -> None:
        """Close a file, and remove it if nothing has come of it."""
        with contextlib.suppress(OSError):
            status = path.stat()  # of another file, if ours has become a blob and somebody has begun anew
            if status.st_size == 0 and status.st_ino == os.fstat(stream.fileno()).st_ino:
                path.unlink()
        stream.close()

    def abandoned(self, older_than_seconds: float = KEPT_SECONDS) -> Iterator[Path]:
        """The files that nobody has gone on with for so long."""
        newest = time.time() - older_than_seconds
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if max(status.st_mtime, status.st_ctime) < newest:
                    yield path

    def remove(self, path: Path) -> None:
        """Forget what has come of a file, unless somebody goes on with it now."""
        if (stream := _locked(path)) is not None:
            with stream:
                path.unlink(missing_ok=True)
                marks_of(path).unlink(missing_ok=True)


def _locked(path: Path) -> FileIO | None:
    """The file, made if need be and locked; None while somebody else has it. The lock ends with the process."""
    with told_plainly():
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    stream = FileIO(descriptor, "r+b")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:  # else it has become a blob while we waited
            return stream
    except (BlockingIOError, FileNotFoundError):
        pass
    stream.close()
    return None
