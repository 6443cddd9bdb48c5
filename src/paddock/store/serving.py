"""What a server does for its store beside serving from it: keeps others from serving the same one, and tidies it up."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from paddock.errors import PaddockError, StoreError
from paddock.store.durable import FILE_MODE, FOLDER_MODE, told_plainly
from paddock.store.library import Library

LOCK_FILE = "server"
"""Below the root of the store."""
FIRST_SECONDS = 60.0
EVERY_SECONDS = 6 * 3600.0

_log = logging.getLogger(__name__)


class _Occupant(msgspec.Struct, frozen=True):
    """Who serves the store."""

    pid: int
    url: str


@contextlib.contextmanager
def served_alone(root: Path, url: str) -> Iterator[None]:
    """Be the one server of this store while the block runs. StoreError, naming the one that is.

    A server that is gone, however it went, is in nobody's way: its lock ended with it. Commands are not kept out, which
    only change models: they lock the store for a moment each time.
    """
    with told_plainly():
        root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(root / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _occupied(root, os.pread(descriptor, 4096, 0)) from None
        with told_plainly():
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(_Occupant(os.getpid(), url)), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _occupied(root: Path, data: bytes) -> StoreError:
    try:
        occupant = msgspec.json.decode(data, type=_Occupant)
        who = f"process {occupant.pid} at {occupant.url}"
    except ValueError:
        who = "another process"
    return StoreError(
        f"The models in {root} are served by {who} already: stop that server, or set PADDOCK_MODELS to another folder."
    )


async def keep_tidy(
    library: Library, first_seconds: float = FIRST_SECONDS, every_seconds: float = EVERY_SECONDS
) -> None:
    """Collect what nobody needs, soon after the start and then now and again, until this is cancelled."""
    pause_seconds = first_seconds
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            found = await asyncio.to_thread(library.collect)
        except PaddockError as error:
            _log.warning("event=collection_failed reason=%r", error.message)
        else:
            _log.info("event=collected files=%d freed_bytes=%d", len(found.waste), found.freed_bytes)
        pause_seconds = every_seconds
