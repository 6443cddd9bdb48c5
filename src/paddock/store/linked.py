"""Notes of how a blob was when it was checked, for those blobs that are another program's files as well."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from paddock.store.durable import FOLDER_MODE, replace_file
from paddock.store.names import parse_digest


class _Note(msgspec.Struct, frozen=True):
    """What changes when a file is written to or replaced."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Note:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class Linked:
    """The folder of notes below the root of a store, one file per blob. OSError where it cannot be used."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "linked"

    def _path(self, digest: str) -> Path:
        return self._folder / parse_digest(digest).replace(":", "-")

    def note(self, digest: str, status: os.stat_result) -> None:
        """The blob was checked, and is like this."""
        self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        replace_file(self._path(digest), msgspec.json.encode(_Note.of(status)))

    def is_as_noted(self, digest: str, status: os.stat_result) -> bool:
        """Whether the blob still is as it was; so it is if there is no note, as then nobody else has it."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            return True
        try:
            return msgspec.json.decode(data, type=_Note) == _Note.of(status)
        except ValueError:
            return False

    def forget(self, digest: str) -> None:
        """The blob is gone, or the store's alone. Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            self._path(digest).unlink()
