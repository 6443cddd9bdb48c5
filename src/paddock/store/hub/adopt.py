"""Files that another program has downloaded already: found by their content, taken over without a copy where the file
system can, and hashed, never trusted."""

from __future__ import annotations

import contextlib
import errno
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

from paddock.errors import StoreError
from paddock.store.blobs import Blob, Blobs
from paddock.store.durable import FOLDER_MODE, sync_file, told_plainly
from paddock.store.hub.listing import Listing, RemoteFile, check_name
from paddock.store.hub.partial import FOLDER, in_thread
from paddock.store.hub.settings import HubSettings
from paddock.store.hub.source import HubSource

HASHED_AT_ONCE_BYTES = 64 * 1024 * 1024
_READ_BYTES = 1024 * 1024
_LINUX_CLONE = 0x40049409
"""The request number of FICLONE in <linux/fs.h>."""
_ETAG_LENGTHS = {64: "sha256", 40: "git"}


def candidates(settings: HubSettings, listing: Listing, file: RemoteFile) -> list[Path]:
    """Where this machine may have a file already, of the size that it should have: in Hugging Face's cache, whatever
    commit it came with, and in other programs' folders of models."""
    places = [models / listing.repository / file.name for models in settings.model_folders]
    if settings.cache is not None:
        folder = _cache_folder(settings.cache, listing.repository)
        places = [folder / "blobs" / file.etag, folder / "snapshots" / listing.commit / file.name, *places]
    return [path for path in places if _is_file_of(path, file.size_bytes)]


def _is_file_of(path: Path, size_bytes: int) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size_bytes


def _cache_folder(cache: Path, repository: str) -> Path:
    return cache / f"models--{repository.replace('/', '--')}"


def cached_listing(settings: HubSettings, source: HubSource) -> Listing | None:
    """What Hugging Face's cache has of a repository, for when the Hub cannot be asked: the files of one commit whose
    names in the cache tell what they should hold. None if there is no such commit."""
    if settings.cache is None:
        return None
    folder = _cache_folder(settings.cache, source.repository)
    commit = source.revision
    with contextlib.suppress(OSError, UnicodeDecodeError):
        commit = (folder / "refs" / source.revision).read_text("ascii").strip()
    snapshot = folder / "snapshots" / commit
    if len(commit) != 40 or not commit.isalnum() or not snapshot.is_dir():
        return None
    paths = (path for path in sorted(snapshot.rglob("*")) if path.is_symlink())
    files = [file for path in paths if (file := _cached_file(path, path.relative_to(snapshot).as_posix())) is not None]
    for file in files:
        check_name(source.repository, file.name)
    return Listing(source.repository, commit, tuple(files))


def _cached_file(path: Path, name: str) -> RemoteFile | None:
    """A file of the cache is a link to one that is named by the hash of its content."""
    etag = path.readlink().name
    kind = _ETAG_LENGTHS.get(len(etag))
    try:
        size_bytes = path.stat().st_size
    except OSError:
        return None
    if kind is None or not all(letter in "0123456789abcdef" for letter in etag):
        return None
    return RemoteFile(name, size_bytes, *((etag, "") if kind == "sha256" else ("", etag)))


async def adopt(path: Path, file: RemoteFile, blobs: Blobs, root: Path) -> Blob | None:
    """Make a file of another program's a blob: a clone where the file system has them, else a link, else a copy.

    None if its content is not what it should be, or cannot be read. StoreError if the disk is full.
    """
    place = root / FOLDER / f"adopted-{secrets.token_hex(8)}"
    try:
        with told_plainly():
            place.parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
        is_shared = await in_thread(_bring, path, place)
        return await _checked(place, file, blobs, is_shared=is_shared)
    except StoreError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
            raise
        return None
    finally:
        place.unlink(missing_ok=True)


async def _checked(place: Path, file: RemoteFile, blobs: Blobs, *, is_shared: bool) -> Blob | None:
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
