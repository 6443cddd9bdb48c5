"""Leases: whoever is about to use blobs says so first, and no collection and no deletion takes those away meanwhile.

A lease is a file that lists digests and is locked by whoever holds it. The lock ends with the process, so that what a
dead one held is free. It knows no models.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from paddock.errors import InvalidName
from paddock.store.durable import FOLDER_MODE, told_plainly
from paddock.store.names import parse_digest

FOLDER = "leases"
"""Below the root of the store."""

StoreLock = Callable[[], AbstractContextManager[None]]


class Lease:
    """What one pull, one creation or one load needs. The end of its block gives it back."""

    def __init__(self, path: Path, descriptor: int, lock: StoreLock) -> None:
        self.path = path
        self._descriptor = descriptor
        self._lock = lock
        self._using = threading.Lock()
        self._is_over = False

    def add(self, digests: Iterable[str]) -> None:
        """Hold these blobs too, and only then look whether they are there. Blocks while the store is locked, so it is
        never called by who has locked it. Does nothing when the lease is over. StoreError."""
        given = tuple(digests)
        if given:
            self.add_found(lambda: given)

    def add_found(self, find: Callable[[], Iterable[str]]) -> None:
        """As `add`, of what `find` finds while the store is locked, so that none of it can have gone meanwhile."""
        with self._lock(), self._using, told_plainly():
            lines = "".join(f"{parse_digest(digest)}\n" for digest in find()).encode()
            while lines and not self._is_over:
                lines = lines[os.write(self._descriptor, lines) :]

    def release(self) -> None:
        """Give everything back. Idempotent."""
        with self._using:
            if not self._is_over:
                self._is_over = True
                self.path.unlink(missing_ok=True)
                os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Leases:
    """The folder of leases of all processes that use a store. `lock` is the store's."""

    def __init__(self, root: Path, lock: StoreLock) -> None:
        self._folder = root / FOLDER
        self._lock = lock

    def take(self) -> Lease:
        """A lease on nothing yet; it waits for nobody. StoreError."""
        name = secrets.token_hex(8)
        path, unlocked = self._folder / name, self._folder / f".{name}"
        with told_plainly():
            self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            descriptor = os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            unlocked.rename(path)  # under its name it is locked, so nobody takes it for a dead one's
        return Lease(path, descriptor, self._lock)

    @contextlib.asynccontextmanager
    async def held(self, digests: Iterable[str]) -> AsyncGenerator[Lease, None]:
        """A lease on these for as long as the block runs; what waits for the store's lock is a thread."""
        with self.take() as lease:
            await asyncio.to_thread(lease.add, tuple(digests))
            yield lease

    def digests(self, apart_from: Lease | None = None) -> set[str]:
        """Everything that is held, but for what one lease alone holds. Under the store's lock. StoreError."""
        with told_plainly():
            return {
                digest
                for path in self._paths()
                if (apart_from is None or path != apart_from.path) and not _is_dead(path)
                for digest in _digests_in(path)
            }

    def dead(self) -> list[Path]:
        """The files that nobody holds any more. Under the store's lock."""
        with told_plainly():
            return [path for path in self._paths() if _is_dead(path)]

    def _paths(self) -> Iterator[Path]:
        if self._folder.is_dir():
            yield from (path for path in self._folder.iterdir() if not path.name.startswith("."))


def _is_dead(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _digests_in(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text("ascii", "replace").splitlines()
    except FileNotFoundError:  # given back since
        return
    for line in lines:
        with contextlib.suppress(InvalidName):  # a full disk has cut it short, and its owner was told
            yield parse_digest(line)
