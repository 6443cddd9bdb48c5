"""Writing so that a crash or a power cut leaves either the old or the new, never half. It knows no models."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import struct
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

from paddock.errors import StoreError, StoreFull

FOLDER_MODE = 0o755
FILE_MODE = 0o644
ADVICE = "free some space and try again"
"""What to do about a full disk."""
BLOCK_BYTES = 512
"""Of `st_blocks`."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE of <linux/falloc.h>."""
_MACOS_PREALLOCATE, _MACOS_ALL, _MACOS_FROM_END = 42, 4, 3
"""F_PREALLOCATE, F_ALLOCATEALL and F_PEOFPOSMODE of macOS' <sys/fcntl.h>."""


def sync_file(descriptor: int) -> None:
    """Return when the file's bytes are on the disk. On macOS a plain fsync leaves them in the drive's cache."""
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        with contextlib.suppress(OSError):  # network file systems have no such call
            fcntl.fcntl(descriptor, full_sync)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot, and need not
            raise
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, mode: int = FILE_MODE, *, is_durable: bool = True) -> None:
    """Make `path` hold `data`: readers see the old content or the new, and so does whoever reads after a crash.

    What is not durable may be lost, or empty, after a power cut. OSError; StoreFull if the disk is full.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        with full_told(path.parent, len(data)):
            _write_new(temporary, data, mode, is_durable=is_durable)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if is_durable:
        sync_folder(path.parent)


def _write_new(path: Path, data: bytes, mode: int, *, is_durable: bool) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        if is_durable:
            sync_file(file.fileno())


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of it to an unbuffered file. OSError, after which some may have been written."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def reserve(descriptor: int, size_bytes: int) -> None:
    """Set room aside for a file to grow to this size, where the file system can; its length stays as it is. OSError
    where there is not so much room."""
    status, disk = os.fstat(descriptor), os.fstatvfs(descriptor)
    missing_bytes = size_bytes - status.st_blocks * BLOCK_BYTES
    if missing_bytes <= 0:
        return
    if missing_bytes > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        _preallocate(descriptor, size_bytes, missing_bytes)
    except OSError as error:
        if error.errno in _FULL:
            os.ftruncate(descriptor, status.st_size)  # gives back what has been set aside
            raise


def _preallocate(descriptor: int, size_bytes: int, missing_bytes: int) -> None:
    if sys.platform == "darwin":
        wish = struct.pack("=Iiqqq", _MACOS_ALL, _MACOS_FROM_END, 0, missing_bytes, 0)
        fcntl.fcntl(descriptor, _MACOS_PREALLOCATE, wish)
        return
    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(descriptor, _KEEP_SIZE, 0, size_bytes) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Hold a lock among all threads and processes that use this store; waits for it, and a crash releases it."""
    with told_plainly():
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        with told_plainly():
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """Turn the operating system's errors into StoreError, in words that name no path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"The disk is full: {ADVICE}.") from error
        reason = os.strerror(error.errno).lower() if error.errno else "input or output failed"
        raise StoreError(f"The folder of models cannot be used: {reason}.") from error


@contextlib.contextmanager
def full_told(folder: Path, needed_bytes: int, what: str = "", advice: str = ADVICE) -> Iterator[None]:
    """Turn the error of a full disk into StoreFull, telling how much is short of what was still to be written below
    `folder`; other errors stay as they are."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        free_bytes = shutil.disk_usage(folder).free
        # A quota may be used up where the disk is not.
        short_bytes = needed_bytes - free_bytes if needed_bytes > free_bytes else needed_bytes
        raise StoreFull(f"The disk is full: {max(short_bytes, 1)} bytes are short{what}; {advice}.") from error
