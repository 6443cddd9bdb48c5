"""A file on its way in: what has come of it lies under a name that tells its content, so that it is gone on with."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from paddock.errors import StoreError
from paddock.store.blobs import Blob, Blobs
from paddock.store.durable import FOLDER_MODE, sync_file, told_plainly
from paddock.store.hub.listing import RemoteFile

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


class Partial:
    """One file's bytes so far, in order from the first, and their hashes. Belongs to one pull at a time."""

    def __init__(self, path: Path, file: RemoteFile, stream: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._git = _git_hash(file)
        self.size_bytes = 0
        """How much is here, and hashed."""

    async def load(self) -> None:
        """Hash what an earlier pull has left."""
        while self.size_bytes < self._file.size_bytes and await in_thread(self._hash_some):
            pass
        await in_thread(self._cut)

    def _hash_some(self) -> bool:
        with told_plainly():
            for _ in range(REREAD_BYTES // _MOST_BYTES_READ):
                chunk = self._stream.read(min(_MOST_BYTES_READ, self._file.size_bytes - self.size_bytes))
                if not chunk:
                    return False
                self._count(chunk)
        return True

    def _cut(self) -> None:
        """Forget what is behind the bytes that were hashed."""
        with told_plainly():
            self._stream.truncate(self.size_bytes)
            self._stream.seek(self.size_bytes)

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write the next bytes; blocks. StoreError when the disk is full, telling how much is short."""
        for chunk in chunks:
            try:
                self._stream.write(chunk)
                self._stream.flush()
            except OSError as error:
                self._retreat()
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise self._full() from error
                with told_plainly():
                    raise
            self._count(chunk)

    def _retreat(self) -> None:
        """After a write that failed, nothing of it may stay."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._stream.fileno(), self.size_bytes)

    def _full(self) -> StoreError:
        needed = self._file.size_bytes - self.size_bytes
        short = max(needed - shutil.disk_usage(self._path.parent).free, 1)
        return StoreError(
            f"The disk is full: {short} bytes are short for {self._file.name}; free some space and pull again, "
            "what has come is kept."
        )

    def _count(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        if self._git is not None:
            self._git.update(chunk)
        self.size_bytes += len(chunk)

    def restart(self) -> None:
        """Forget everything that has come; blocks."""
        self._sha256, self._git, self.size_bytes = hashlib.sha256(), _git_hash(self._file), 0
        with told_plainly():
            self._stream.seek(0)
            self._stream.truncate()

    @property
    def digest(self) -> str:
        """Of the bytes so far, as a blob's name."""
        return f"sha256:{self._sha256.hexdigest()}"

    @property
    def is_right(self) -> bool:
        """Whether these are the bytes that the Hub announced."""
        found = self._sha256.hexdigest() if self._git is None else self._git.hexdigest()
        return self.size_bytes == self._file.size_bytes and found == self._file.etag

    def commit(self, blobs: Blobs) -> Blob:
        """Make right bytes a blob; blocks."""
        assert self.is_right, "nothing gets a name that was not checked"
        with told_plainly():
            self._stream.flush()
            sync_file(self._stream.fileno())
        return blobs.take(self._path, self.digest, self.size_bytes)


def _git_hash(file: RemoteFile) -> hashlib._Hash | None:
    """Git's hash of a file begins with its size. None where the SHA-256 is known."""
    return None if file.sha256 else hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)


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
            self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        while (stream := _locked(path)) is None:  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(LOOK_SECONDS)
        try:
            yield Partial(path, file, stream)
        finally:
            with contextlib.suppress(OSError):
                if path.stat().st_size == 0:
                    path.unlink()
            stream.close()

    def prune(self, older_than_seconds: float = KEPT_SECONDS) -> int:
        """Remove what nobody has gone on with for so long; returns its bytes."""
        freed_bytes, newest = 0, time.time() - older_than_seconds
        with told_plainly():
            for path in self._folder.iterdir() if self._folder.is_dir() else ():
                status = path.lstat()
                if max(status.st_mtime, status.st_ctime) < newest and (stream := _locked(path)) is not None:
                    with stream:
                        path.unlink(missing_ok=True)
                    freed_bytes += status.st_size
        return freed_bytes


def _locked(path: Path) -> BinaryIO | None:
    """The file, made if need be and locked; None while somebody else has it. The lock ends with the process."""
    with told_plainly():
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    stream = os.fdopen(descriptor, "r+b")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(descriptor).st_ino:  # else it has become a blob while we waited
            return stream
    except (BlockingIOError, FileNotFoundError):
        pass
    stream.close()
    return None
