"""Files that another program has downloaded already: taken over without a copy where the file system can, and hashed,
never trusted."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import sys
from ctypes import CDLL, c_char_p, c_int, c_uint32
from pathlib import Path
from typing import BinaryIO

from paddock.errors import StoreError, StoreFull
from paddock.store.blobs import Blob, Blobs
from paddock.store.durable import FOLDER_MODE, sync_file, told_plainly
from paddock.store.leases import Lease
from paddock.store.transfer.partial import FOLDER, in_thread
from paddock.store.transfer.remote_file import RemoteFile

HASHED_AT_ONCE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_LINUX_CLONE = 0x40049409
"""The request number of FICLONE in <linux/fs.h>."""


def is_file_of(path: Path, size_bytes: int) -> bool:
    """Whether there is a file of this size."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes


async def adopt(path: Path, file: RemoteFile, blobs: Blobs, root: Path, lease: Lease | None = None) -> Blob | None:
    """Make a file of another program's a blob: a clone where the file system has them, else a link, else a copy.
    A lease holds it before it has its name.

    None if its content is not what it should be, or cannot be read. StoreError if the disk is full.
    """
    place = root / FOLDER / f"adopted-{secrets.token_hex(8)}"
    try:
        with told_plainly():
            place.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        is_shared = await in_thread(_bring, path, place)
        return await _checked(place, file, blobs, lease, is_shared=is_shared)
    except StoreFull:
        raise
    except StoreError:
        return None
    finally:
        place.unlink(missing_ok=True)


async def _checked(place: Path, file: RemoteFile, blobs: Blobs, lease: Lease | None, *, is_shared: bool) -> Blob | None:
    """A file that was brought to the store's file system, hashed and named. `is_shared`: others can write to it."""
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)
    with told_plainly(), place.open("rb") as stream:
        before = os.fstat(stream.fileno())
        hashes = [sha256] if file.sha256 else [sha256, git]
        while await in_thread(_hash_some, stream, hashes):
            pass
        after = os.fstat(stream.fileno())
        if not is_shared:
            await in_thread(sync_file, stream.fileno())
    is_still = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    found = sha256.hexdigest() if file.sha256 else git.hexdigest()
    if not is_still or found != file.etag or after.st_size != file.size_bytes:
        return None
    digest = f"sha256:{sha256.hexdigest()}"
    if lease is not None:
        await in_thread(lease.add, (digest,))
    return blobs.link(place, digest) if is_shared else blobs.take(place, digest, file.size_bytes)


def _hash_some(stream: BinaryIO, hashes: list[hashlib._Hash]) -> bool:
    for _ in range(HASHED_AT_ONCE_BYTES // _READ_BYTES):
        chunk = stream.read(_READ_BYTES)
        if not chunk:
            return False
        for each in hashes:
            each.update(chunk)
    return True


def _bring(source: Path, place: Path) -> bool:
    """Put a file's content at a place that is not there yet. True if it is the very same file, under one more name."""
    source = source.resolve()
    if _clone(source, place):
        return False
    with contextlib.suppress(OSError):
        os.link(source, place)
        return True
    with told_plainly():
        shutil.copyfile(source, place)
    return False


def _clone(source: Path, place: Path) -> bool:
    """A copy that shares what neither side changes, where the file system has that."""
    try:
        if sys.platform == "darwin":
            return _clone_on_macos(source, place)
        with source.open("rb") as original, place.open("xb") as copy:
            fcntl.ioctl(copy.fileno(), _LINUX_CLONE, original.fileno())
        return True
    except OSError:
        place.unlink(missing_ok=True)
        return False


def _clone_on_macos(source: Path, place: Path) -> bool:
    clonefile = CDLL(None, use_errno=True).clonefile
    clonefile.argtypes, clonefile.restype = (c_char_p, c_char_p, c_uint32), c_int
    return bool(clonefile(os.fsencode(source), os.fsencode(place), 0) == 0)
