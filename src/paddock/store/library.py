"""The library: all models on disk, by name. The one owner of manifests, blobs and views."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from paddock.errors import (
    BadRequest,
    DamagedModel,
    InvalidModelFiles,
    NotFound,
    PaddockError,
    StoreError,
    UnsupportedModel,
)
from paddock.store import facts as model_facts
from paddock.store.blobs import Blobs
from paddock.store.durable import FOLDER_MODE, exclusive, told_plainly
from paddock.store.facts import ModelFacts
from paddock.store.hub.partial import Partials
from paddock.store.manifest import (
    LICENSE_TYPE,
    MESSAGES_TYPE,
    PARAMETERS_TYPE,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Layer,
    Manifest,
    manifest_digest,
)
from paddock.store.manifests import ManifestFile, Manifests, SomeManifests
from paddock.store.model_files import media_type_of
from paddock.store.names import ModelName
from paddock.store.stored_config import MAX_CONFIG_BLOB_BYTES, Origin, StoredConfig
from paddock.store.views import Views

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Most bytes of a system prompt, a template, a license, the parameters or the messages."""

TensorList = list[dict[str, object]]

_log = logging.getLogger(__name__)
_Decoded = TypeVar("_Decoded")


@dataclass(frozen=True)
class StoredModel:
    """A model as it is stored, without its weights."""

    name: ModelName
    digest: str
    """Of the manifest, in hex."""
    size_bytes: int
    modified_at: datetime
    """With the local time zone."""
    facts: ModelFacts
    parameters: dict[str, object]
    system: str
    template: str
    """A Jinja chat template in place of the model's own; empty for none."""
    licenses: tuple[str, ...]
    messages: tuple[dict[str, str], ...]
    parent_model: str
    manifest: Manifest
    draft_model: str = ""
    """The name that its draft model had."""
    origin: Origin | None = None
    """Where it was pulled from; None for one that was made here."""


class Library:
    """The models below one folder. Every method may be called from any thread, and by several servers at once."""

    def __init__(self, root: Path) -> None:
        with told_plainly():
            root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self.is_new = not (root / "manifests").exists()
            """Whether there has never been a model here."""
        self.blobs = Blobs(root)
        self._manifests = Manifests(root)
        self._views = Views(root, self.blobs)
        self._lock_file = root / "lock"
        self.root = root

    def showing_only(self, names: Iterable[ModelName]) -> Library:
        """This library for somebody to whom other names are not there. Forbidden from whatever would make one."""
        partial = copy.copy(self)
        partial._manifests = SomeManifests(self._manifests, names)
        return partial

    def shows(self, name: ModelName) -> bool:
        """Whether a model of this name is here if there is one at all."""
        return self._manifests.shows(name)

    def list(self) -> list[StoredModel]:
        """All models that can be read, newest first; what cannot is logged and left out."""
        models = [model for name in self._manifests.names() if (model := self._readable(name)) is not None]
        return sorted(models, key=lambda model: model.modified_at, reverse=True)

    def get(self, name: ModelName) -> StoredModel:
        """A model, whatever case its name is written in.

        NotFound; DamagedModel if what is stored cannot be read; UnsupportedModel if it is another program's.
        """
        found = self._manifests.read(name)
        if found is None:
            raise NotFound(f"model '{name.display}' not found")
        try:
            return self._stored(found)
        except DamagedModel:
            with self._exclusive():  # it may only have been replaced or deleted while it was being read
                found = self._manifests.read(name)
                if found is None:
                    raise NotFound(f"model '{name.display}' not found") from None
                return self._stored(found)

    def copy(self, source: ModelName, destination: ModelName) -> None:
        """Give a model a second name; its manifest is copied byte by byte. NotFound."""
        with self._exclusive():
            found = self._manifests.read(source)
            if found is None:
                raise NotFound(f'model "{source.display}" not found')
            self._checked_manifest(found)
            self._replace(destination, found.data)

    def delete(self, name: ModelName) -> None:
        """Remove a name, and every blob that no other manifest refers to. NotFound. A damaged manifest goes as well."""
        with self._exclusive():
            found = self._manifests.read(name)
            if found is None:
                raise NotFound(f"model '{name.display}' not found")
            self._manifests.remove(found.name)
            self._release(found.data)

    def put(self, name: ModelName, manifest: Manifest, contents: Iterable[bytes] = ()) -> StoredModel:
        """Store a manifest under a name, at once and durably; what it replaces is cleaned away.

        `contents` are those of its blobs that are not in the store yet: added under the same lock, so that no deletion
        falls between. NotFound if another of its blobs is not there; then the name is as it was.
        """
        with self._exclusive():
            for content in contents:
                self.blobs.add_bytes(content)
            for layer in manifest.blobs:
                if self.blobs.size(layer.digest) != layer.size:
                    raise StoreError("The manifest gives one of its blobs another size than it has.")
            stored = self._replace(name, manifest.encode())
        return self.get(stored)

    def discard(self, digests: Iterable[str]) -> None:
        """Remove those of these blobs that no model needs: what was brought in for one that came to nothing."""
        with self._exclusive():
            in_use = self._manifests.in_use()
            for digest in set(digests) - in_use.blobs if in_use else ():
                self.blobs.remove(digest)

    def prune(self, older_than_seconds: float = 3600.0) -> int:
        """Remove uploads that no model came of, and what a crash left behind; returns the bytes that this frees.

        Younger ones stay, as somebody may be about to use them; all stay while a manifest cannot be read. What came of
        pulls that were not finished stays for longer.
        """
        with self._exclusive():
            in_use = self._manifests.in_use()
            if in_use is None:
                return 0
            self._views.keep_only(in_use.manifests)
            return self.blobs.keep_only(in_use.blobs, older_than_seconds) + Partials(self.root).prune()

    def files(self, model: StoredModel) -> dict[str, Path]:
        """The model's own files by name, where they lie. DamagedModel if one is missing or has another size.

        A blob that the disk has damaged is removed on the way, so that creating the model again uploads it again.
        """
        for layer in (*model.manifest.files, *model.manifest.draft_files):
            if problem := self._problem(layer):
                raise DamagedModel(
                    f"Model '{model.name.display}' is damaged: its file {layer.name} is {problem}; create it again."
                )
        return {str(layer.name): self.blobs.path(layer.digest) for layer in model.manifest.files}

    def _problem(self, layer: Layer) -> str:
        """What is wrong with a blob, in a few words; empty for nothing."""
        if not self.blobs.has(layer.digest):
            return "missing"
        is_short = self.blobs.size(layer.digest) != layer.size
        if self.blobs.is_changed(layer.digest) or (is_short and not self.blobs.is_intact(layer.digest)):
            self.blobs.remove(layer.digest)
            return "cut short or overwritten"
        return "cut short or overwritten" if is_short else ""

    def view(self, model: StoredModel) -> Path:
        """A folder of links to the model's files under their own names, for a runner, and beside it `draft_view` if it
        has a draft model. DamagedModel as `files`."""
        with self._exclusive():
            self.files(model)
            return self._views.make(model.digest, model.manifest)

    def model_info(self, model: StoredModel) -> dict[str, object]:
        """The `model_info` of /api/show, read from the model's files. DamagedModel."""
        try:
            return model_facts.model_info(self.files(model))
        except InvalidModelFiles as error:
            raise _damaged(model.name) from error

    def tensors(self, model: StoredModel) -> TensorList:
        """Name, type and shape of every tensor. DamagedModel."""
        try:
            return model_facts.tensors(self.files(model))
        except InvalidModelFiles as error:
            raise _damaged(model.name) from error

    def _exclusive(self) -> AbstractContextManager[None]:
        return exclusive(self._lock_file)

    def _readable(self, name: ModelName) -> StoredModel | None:
        try:
            return self.get(name)
        except PaddockError as error:
            level = logging.DEBUG if isinstance(error, NotFound | UnsupportedModel) else logging.WARNING
            _log.log(level, "left out of the list: %s", error.message)
            return None

    def _checked_manifest(self, found: ManifestFile) -> Manifest:
        """The manifest in a file. DamagedModel if it is none, or names files that no model may have."""
        try:
            manifest = Manifest.parse(found.data)
            for layer in (*manifest.files, *manifest.draft_files):
                media_type_of(str(layer.name))
        except (StoreError, BadRequest):
            raise DamagedModel(
                f"Model '{found.name.display}' is damaged: its manifest cannot be read; create it again."
            ) from None
        return manifest

    def _stored(self, found: ManifestFile) -> StoredModel:
        manifest = self._checked_manifest(found)
        try:
            return self._assembled(found, manifest)
        except (NotFound, BadRequest, ValueError, RecursionError):
            raise _damaged(found.name) from None

    def _assembled(self, found: ManifestFile, manifest: Manifest) -> StoredModel:
        config = StoredConfig.decode(self.blobs.read(manifest.config.digest, MAX_CONFIG_BLOB_BYTES), found.name.display)
        return StoredModel(
            name=found.name,
            digest=manifest_digest(found.data),
            size_bytes=manifest.size_bytes,
            modified_at=found.modified_at,
            facts=config.facts,
            parameters=self._decoded(manifest, PARAMETERS_TYPE, dict[str, object]) or {},
            system="\n".join(self._texts(manifest, SYSTEM_TYPE)),
            template="\n".join(self._texts(manifest, TEMPLATE_TYPE)),
            licenses=self._texts(manifest, LICENSE_TYPE),
            messages=self._decoded(manifest, MESSAGES_TYPE, tuple[dict[str, str], ...]) or (),
            parent_model=config.parent_model,
            manifest=manifest,
            draft_model=config.draft.parent_model if config.draft else "",
            origin=config.origin,
        )

    def _texts(self, manifest: Manifest, media_type: str) -> tuple[str, ...]:
        return tuple(self._read_layer(layer).decode() for layer in manifest.of_type(media_type))

    def _decoded(self, manifest: Manifest, media_type: str, kind: type[_Decoded]) -> _Decoded | None:
        layers = manifest.of_type(media_type)
        return msgspec.json.decode(self._read_layer(layers[-1]), type=kind) if layers else None

    def _read_layer(self, layer: Layer) -> bytes:
        return self.blobs.read(layer.digest, MAX_TEXT_BYTES)

    def _replace(self, name: ModelName, data: bytes) -> ModelName:
        """Write a manifest and clean away what only the old one under this name needed. Under the lock."""
        old = self._manifests.read(name)
        stored = self._manifests.write(name, data)
        if old is not None and old.data != data:
            self._release(old.data)
        return stored

    def _release(self, data: bytes) -> None:
        """Remove the view and the blobs of a manifest that is gone, but for what others still need. Under the lock."""
        in_use = self._manifests.in_use()
        if in_use is None:
            return
        if manifest_digest(data) not in in_use.manifests:
            self._views.remove(manifest_digest(data))
        try:
            gone = {layer.digest for layer in Manifest.parse(data).blobs}
        except StoreError:
            return
        for digest in gone - in_use.blobs:
            self.blobs.remove(digest)


def _damaged(name: ModelName) -> DamagedModel:
    return DamagedModel(f"Model '{name.display}' is damaged: one of its files cannot be read; create it again.")
