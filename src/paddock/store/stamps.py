"""Stamps: how each blob's file was when its content was checked. One that is no longer so is read again before it is
used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from paddock.errors import InvalidName
from paddock.store.durable import FOLDER_MODE, replace_file
from paddock.store.names import parse_digest

FOLDER = "stamps"
"""Below the root of the store."""


class _Stamp(msgspec.Struct, frozen=True):
    """What changes when a file is written to or replaced."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


class Stamps:
    """The folder of stamps, one file per blob. OSError where it cannot be used."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    def _path(self, digest: str) -> Path:
        return self._folder / parse_digest(digest).replace(":", "-")

    def put(self, digest: str, status: os.stat_result, *, is_durable: bool = False) -> None:
        """The blob was checked, and is like this. A stamp must be durable if without it the blob would be trusted
        wrongly: where somebody else may write to it."""
        self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        replace_file(self._path(digest), msgspec.json.encode(_Stamp.of(status)), is_durable=is_durable)

    def holds(self, digest: str, status: os.stat_result) -> bool:
        """Whether the blob still is as it was; so it is if there is no stamp, as then another program has put it into a
        store that both use, or a power cut came right behind its arrival."""
        try:
            data = self._path(digest).read_bytes()
        except FileNotFoundError:
            return True
        try:
            return msgspec.json.decode(data, type=_Stamp) == _Stamp.of(status)
        except ValueError:
            return False

    def forget(self, digest: str) -> None:
        """The blob is gone. Idempotent."""
        with contextlib.suppress(FileNotFoundError):
            self._path(digest).unlink()

    def of_none(self, present: set[str]) -> Iterator[Path]:
        """The stamps of blobs that are not among these digests."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            with contextlib.suppress(InvalidName):
                if parse_digest(path.name) not in present:
                    yield path
