"""Manifests that cannot be read any more: put aside, and what they last needed is kept for a while, so that mending one
need not bring everything anew. It reads no manifests."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from paddock.errors import StoreError
from paddock.store.durable import FOLDER_MODE, replace_file, sync_folder
from paddock.store.names import ModelName, parse_digest

FOLDER = "corrupt"
KNOWN_FOLDER = "known"
"""Both below the root of the store."""
KEPT_SECONDS = 7 * 24 * 3600.0

_DIGEST = re.compile(rb"(?i)sha256[:-][0-9a-f]{64}")
_RECORD = ".json"
_MANIFEST = ".manifest"


class PutAside(msgspec.Struct, frozen=True):
    """A manifest that was put aside."""

    name: str
    """`ModelName.key`"""
    at: float
    """In seconds since 1970."""
    digests: tuple[str, ...]
    """Of the blobs that it needed when it was last known."""
    is_certain: bool
    """Whether those are all."""


class Quarantine:
    """What is put aside, and what is known of each manifest for that day. Nothing here locks: `Library` does."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._known = root / KNOWN_FOLDER

    def remember(self, name: ModelName, data: bytes) -> None:
        """Note what a manifest that can be read needs. Done as well as it can be: it is for a bad day only."""
        with contextlib.suppress(OSError, StoreError):
            self._known.mkdir(mode=FOLDER_MODE, exist_ok=True)
            replace_file(self._note(name), "\n".join(sorted(digests_in(data))).encode(), is_durable=False)

    def is_remembered(self, name: ModelName) -> bool:
        """Whether there is a note of what its manifest needs."""
        return self._note(name).exists()

    def forget(self, name: ModelName) -> None:
        """There is no such model any more. Idempotent."""
        with contextlib.suppress(OSError):
            self._note(name).unlink()

    def last_known(self, name: ModelName, data: bytes) -> tuple[set[str], bool]:
        """The digests that a damaged manifest needed, as far as they are known, and whether those are all."""
        try:
            noted = self._note(name).read_bytes()
        except OSError:
            noted = b""
        return digests_in(noted) | digests_in(data), bool(noted)

    def put_aside(self, name: ModelName, path: Path, data: bytes) -> None:
        """Move a damaged manifest out of the way. OSError."""
        self._folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        digests, is_certain = self.last_known(name, data)
        record = PutAside(name.key, time.time(), tuple(sorted(digests)), is_certain)
        place = self._folder / f"{hashlib.sha256(name.key.encode()).hexdigest()[:16]}-{secrets.token_hex(4)}"
        replace_file(place.with_suffix(_RECORD), msgspec.json.encode(record))
        path.rename(place.with_suffix(_MANIFEST))
        sync_folder(self._folder)
        sync_folder(path.parent)
        self.forget(name)

    def kept(self) -> list[PutAside]:
        """What was put aside not too long ago."""
        return [record for _, record in self._records() if time.time() - record.at <= KEPT_SECONDS]

    def holds(self, name: ModelName) -> bool:
        """Whether a manifest of this name was put aside."""
        return any(record.name == name.key for record in self.kept())

    def drop(self, name: ModelName) -> bool:
        """Remove what was put aside of a name; whether there was anything."""
        dropped = [path for path, record in self._records() if record.name == name.key]
        for path in dropped:
            _remove(path)
        return bool(dropped)

    def expired(self) -> Iterator[Path]:
        """The files of what has been kept for long enough."""
        for path, record in self._records():
            if time.time() - record.at > KEPT_SECONDS:
                yield from (path, path.with_suffix(_MANIFEST))

    def notes_without(self, names: Iterable[ModelName]) -> list[Path]:
        """The notes of manifests that are not there."""
        kept = {self._note(name) for name in names}
        return [path for path in _files(self._known) if path not in kept]

    def _note(self, name: ModelName) -> Path:
        return self._known / hashlib.sha256(name.key.encode()).hexdigest()

    def _records(self) -> Iterator[tuple[Path, PutAside]]:
        for path in _files(self._folder):
            if path.suffix == _RECORD:
                with contextlib.suppress(ValueError, FileNotFoundError):
                    yield path, msgspec.json.decode(path.read_bytes(), type=PutAside)


def digests_in(data: bytes) -> set[str]:
    """Every digest that some bytes mention, whatever they are otherwise."""
    return {parse_digest(found.decode()) for found in _DIGEST.findall(data)}


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(record: Path) -> None:
    for path in (record.with_suffix(_MANIFEST), record):
        path.unlink(missing_ok=True)
