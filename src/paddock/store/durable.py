"""Writing so that a crash or a power cut leaves either the old or the new, never half. It knows no models."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from paddock.errors import StoreError

FOLDER_MODE = 0o755
FILE_MODE = 0o644


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


def replace_file(path: Path, data: bytes, mode: int = FILE_MODE) -> None:
    """Make `path` hold `data`: readers see the old content or the new, and so does whoever reads after a crash."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            sync_file(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


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
        reason = os.strerror(error.errno).lower() if error.errno else "input or output failed"
        raise StoreError(f"The folder of models cannot be used: {reason}.") from error
