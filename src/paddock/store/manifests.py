"""The folder of manifests: names on disk, whatever their case, and what they say. It knows nothing of blobs."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from paddock.errors import Forbidden, StoreError
from paddock.store.catalogue import Catalogue, Listed
from paddock.store.durable import FOLDER_MODE, replace_file, sync_folder, told_plainly
from paddock.store.manifest import MAX_MANIFEST_BYTES, Manifest, manifest_digest
from paddock.store.names import ModelName
from paddock.store.quarantine import Quarantine, digests_in

NAME_PARTS = 4
"""Host, namespace, model and tag: so deep lie manifests."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManifestFile:
    """A manifest as it lies on disk."""

    name: ModelName
    """In the case that is on disk."""
    data: bytes
    modified_at: datetime


@dataclass(frozen=True)
class _Needs:
    """What one manifest needs."""

    digest: str
    """Its own, in hex."""
    blobs: frozenset[str]
    is_certain: bool
    damaged: ManifestFile | None


@dataclass(frozen=True)
class InUse:
    """What must be kept: digests of blobs (`sha256:…`) and of manifests (plain hex)."""

    blobs: set[str]
    manifests: set[str]
    damaged: tuple[ManifestFile, ...] = ()
    """What is not even JSON any more; what it needed when it was last known is among the blobs."""
    is_certain: bool = True
    """Whether those are all blobs. If not, none may be removed: one manifest cannot be read, and nobody knows what it
    needs."""


class Manifests:
    """The files of all manifests. Nothing here locks: `Library` does."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "manifests"
        self.quarantine = Quarantine(root)
        self._needs = Catalogue(self._read_needs)
        with told_plainly():
            self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def shows(self, name: ModelName) -> bool:
        """Whether a model of this name is here if there is one anywhere."""
        return True

    def resolve(self, name: ModelName) -> ModelName:
        """The same name in the case of what is on disk already, part by part; new parts stay as they are written."""
        folder, parts = self._folder, []
        for part in name.relative_path.parts:
            part = _spelling_on_disk(folder, part)
            folder /= part
            parts.append(part)
        return ModelName(*parts)

    def read(self, name: ModelName) -> ManifestFile | None:
        """A manifest's bytes, unchecked; None if there is no such name."""
        return self.read_exactly(self.resolve(name))

    def read_exactly(self, name: ModelName) -> ManifestFile | None:
        """As `read`, for a name in the case that is on disk."""
        path = self._folder / name.relative_path
        with told_plainly():
            try:
                with path.open("rb") as file:
                    data = file.read(MAX_MANIFEST_BYTES + 1)
                modified_at = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
        return ManifestFile(name, data, modified_at)

    def names(self) -> Iterator[ModelName]:
        """Every name on disk, in the order of the alphabet; files that are no manifests by their place or name are
        passed over."""
        return filter(None, (listed.name for listed in self.listed()))

    def listed(self) -> Iterator[Listed]:
        """Every file that is a manifest by its place."""
        with told_plainly():
            for parts, status in _files_at(self._folder, NAME_PARTS):
                yield Listed(parts, (status.st_ino, status.st_mtime_ns, status.st_size))

    def write(self, name: ModelName, data: bytes) -> ModelName:
        """Put a manifest in its place at once, under the spelling that is on disk; returns that."""
        name = self.resolve(name)
        path = self._folder / name.relative_path
        with told_plainly():
            created = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            replace_file(path, data)
            for folder in created:
                sync_folder(folder.parent)
        self.quarantine.remember(name, data)
        return name

    def remove(self, name: ModelName) -> None:
        """Forget a name, and the folders that are empty without it."""
        self.quarantine.forget(name)
        path = self._folder / self.resolve(name).relative_path
        with told_plainly():
            path.unlink(missing_ok=True)
            for folder in list(path.parents)[:3]:
                try:
                    folder.rmdir()
                except OSError:
                    break  # not empty
            sync_folder(next(folder for folder in path.parents if folder.exists()))

    def put_aside(self, found: ManifestFile) -> None:
        """Move a damaged manifest out of the way. Under the lock. StoreError."""
        with told_plainly():
            self.quarantine.put_aside(found.name, self._folder / found.name.relative_path, found.data)
        self.remove(found.name)

    def was_put_aside(self, name: ModelName) -> bool:
        """Whether a damaged manifest of this name was moved out of the way."""
        return self.shows(name) and self.quarantine.holds(name)

    def drop_put_aside(self, name: ModelName) -> bool:
        """Forget a damaged manifest that was moved out of the way; whether there was one."""
        return self.shows(name) and self.quarantine.drop(name)

    def remember_all(self) -> None:
        """Note what each manifest needs that another program has written."""
        for name in self.names():
            if self.quarantine.is_remembered(name):
                continue
            found = self.read_exactly(name)
            if found is not None and not is_damaged(found.data):
                self.quarantine.remember(name, found.data)

    def leftovers(self) -> list[Path]:
        """What writing manifests and a crash have left. Under the lock, or one may still be written."""
        with told_plainly():
            unnamed = [path for path in self._folder.glob("*/*/*/.*") if path.is_file()]
            return [*unnamed, *self.quarantine.expired(), *self.quarantine.notes_without(self.names())]

    def in_use(self) -> InUse:
        """What the manifests on disk need, and those that were put aside. StoreError if one cannot be looked at."""
        needs = self._needs.models(self.listed())
        aside = self.quarantine.kept()
        is_certain = all(each.is_certain for each in needs) and all(each.is_certain for each in aside)
        if not is_certain:
            _log.warning("no blobs are removed, as nobody knows what a damaged model needs")
        return InUse(
            blobs={digest for each in needs for digest in each.blobs}
            | {digest for each in aside for digest in each.digests},
            manifests={each.digest for each in needs},
            damaged=tuple(each.damaged for each in needs if each.damaged is not None),
            is_certain=is_certain,
        )

    def _read_needs(self, listed: Listed) -> tuple[_Needs, frozenset[str]] | None:
        """What a manifest needs. Of one that is another program's it is every digest that it mentions; of a damaged
        one, what was noted of it."""
        found = self.read_exactly(listed.name) if listed.name else None
        if found is None:
            return None
        is_certain, damaged = True, None
        try:
            blobs = {layer.digest for layer in Manifest.parse(found.data).blobs}
        except StoreError:
            blobs, is_certain = digests_in(found.data), len(found.data) <= MAX_MANIFEST_BYTES
            if is_damaged(found.data):
                damaged = found
                blobs, is_certain = self.quarantine.last_known(found.name, found.data)
        return _Needs(manifest_digest(found.data), frozenset(blobs), is_certain, damaged), frozenset()


class SomeManifests(Manifests):
    """Those of some names, as if there were no others; what must be kept for the others is known all the same."""

    def __init__(self, everything: Manifests, names: Iterable[ModelName]) -> None:
        self._folder = everything._folder
        self.quarantine = everything.quarantine
        self._everything = everything
        self._keys = frozenset(name.key for name in names)

    def shows(self, name: ModelName) -> bool:
        """Whether the name is one of them, be there a model or not."""
        return name.key in self._keys

    def read(self, name: ModelName) -> ManifestFile | None:
        """As `Manifests.read`; None for other names."""
        return self._everything.read(name) if self.shows(name) else None

    def read_exactly(self, name: ModelName) -> ManifestFile | None:
        """As `Manifests.read_exactly`; None for other names."""
        return self._everything.read_exactly(name) if self.shows(name) else None

    def listed(self) -> Iterator[Listed]:
        """As `Manifests.listed`, without others."""
        return (listed for listed in self._everything.listed() if "/".join(listed.parts).lower() in self._keys)

    def write(self, name: ModelName, data: bytes) -> ModelName:
        """As `Manifests.write`. Forbidden for other names, whether they are taken or not."""
        if not self.shows(name):
            raise Forbidden(f"This API key may not make a model named '{name.display}'.")
        return self._everything.write(name, data)

    def in_use(self) -> InUse:
        """Of all manifests, or the blobs of others would be removed."""
        return self._everything.in_use()


def is_damaged(data: bytes) -> bool:
    """Whether the bytes of a manifest are not even JSON. One that only is not understood is another program's."""
    if len(data) > MAX_MANIFEST_BYTES:
        return False
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return True
    return False


def _spelling_on_disk(folder: Path, part: str) -> str:
    with told_plainly():
        try:
            present = os.listdir(folder)  # noqa: PTH208 - read for each name, and it may be a thousand long
        except (FileNotFoundError, NotADirectoryError):
            return part
    wanted = part.lower()
    spellings = [name for name in present if name.lower() == wanted]
    return part if part in spellings or not spellings else min(spellings)


def _files_at(
    folder: Path | str, depth: int, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
    """The regular files so many levels below a folder, by the parts of their path. What goes away meanwhile is not
    there; a link counts as what it leads to."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        parts = (*above, entry.name)
        if depth > 1:
            if entry.is_dir():
                yield from _files_at(entry.path, depth - 1, parts)
            continue
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat()
            if stat.S_ISREG(status.st_mode):
                yield parts, status
