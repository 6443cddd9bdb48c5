"""The folder of manifests: names on disk, whatever their case, and what they say. It knows nothing of blobs."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from paddock.errors import Forbidden, InvalidName, StoreError
from paddock.store.durable import FOLDER_MODE, replace_file, sync_folder, told_plainly
from paddock.store.manifest import MAX_MANIFEST_BYTES, Manifest, manifest_digest
from paddock.store.names import ModelName

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ManifestFile:
    """A manifest as it lies on disk."""

    name: ModelName
    """In the case that is on disk."""
    data: bytes
    modified_at: datetime


@dataclass(frozen=True)
class InUse:
    """What must be kept: digests of blobs (`sha256:…`) and of manifests (plain hex)."""

    blobs: set[str]
    manifests: set[str]


class Manifests:
    """The files of all manifests. Nothing here locks: `Library` does."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "manifests"
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
        name = self.resolve(name)
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
        """Every name on disk, in no order; files that are no manifests by their place or name are passed over."""
        with told_plainly():
            for path in sorted(self._folder.glob("*/*/*/*")):
                with contextlib.suppress(InvalidName):
                    name = ModelName(*path.relative_to(self._folder).parts)
                    if path.is_file():
                        yield name

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
        return name

    def remove(self, name: ModelName) -> None:
        """Forget a name, and the folders that are empty without it."""
        path = self._folder / self.resolve(name).relative_path
        with told_plainly():
            path.unlink(missing_ok=True)
            for folder in list(path.parents)[:3]:
                try:
                    folder.rmdir()
                except OSError:
                    break  # not empty
            sync_folder(next(folder for folder in path.parents if folder.exists()))

    def in_use(self) -> InUse | None:
        """What the manifests on disk need; None if one of them cannot be read, as then nobody knows."""
        blobs: set[str] = set()
        manifests: set[str] = set()
        for name in self.names():
            found = self.read(name)
            try:
                blobs.update(layer.digest for layer in (Manifest.parse(found.data).blobs if found else ()))
            except StoreError:
                _log.warning("the manifest of %s is damaged, so no blobs are removed", name.display)
                return None
            manifests.add(manifest_digest(found.data if found else b""))
        return InUse(blobs, manifests)


class SomeManifests(Manifests):
    """Those of some names, as if there were no others; what must be kept for the others is known all the same."""

    def __init__(self, everything: Manifests, names: Iterable[ModelName]) -> None:
        self._folder = everything._folder
        self._everything = everything
        self._keys = frozenset(name.key for name in names)

    def shows(self, name: ModelName) -> bool:
        """Whether the name is one of them, be there a model or not."""
        return name.key in self._keys

    def read(self, name: ModelName) -> ManifestFile | None:
        """As `Manifests.read`; None for other names."""
        return self._everything.read(name) if self.shows(name) else None

    def names(self) -> Iterator[ModelName]:
        """As `Manifests.names`, without others."""
        return filter(self.shows, self._everything.names())

    def write(self, name: ModelName, data: bytes) -> ModelName:
        """As `Manifests.write`. Forbidden for other names, whether they are taken or not."""
        if not self.shows(name):
            raise Forbidden(f"This API key may not make a model named '{name.display}'.")
        return self._everything.write(name, data)

    def in_use(self) -> InUse | None:
        """Of all manifests, or the blobs of others would be removed."""
        return self._everything.in_use()


def _spelling_on_disk(folder: Path, part: str) -> str:
    with told_plainly():
        try:
            spellings = [entry.name for entry in folder.iterdir() if entry.name.lower() == part.lower()]
        except (FileNotFoundError, NotADirectoryError):
            return part
    return part if part in spellings or not spellings else min(spellings)
