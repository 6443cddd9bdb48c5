"""The library: all models on disk, by name. The one owner of manifests, blobs and views."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from pathlib import Path

from paddock.errors import (
    DamagedModel,
    InvalidModelFiles,
    NotFound,
    PaddockError,
    StoreError,
    UnsupportedModel,
)
from paddock.store import facts as model_facts
from paddock.store.blobs import Blobs
from paddock.store.catalogue import Catalogue, Listed
from paddock.store.collect import GRACE_SECONDS, Collection, Collector
from paddock.store.durable import FOLDER_MODE, exclusive, told_plainly
from paddock.store.known_facts import KnownFacts
from paddock.store.leases import Lease, Leases
from paddock.store.manifest import (
    Layer,
    Manifest,
    manifest_digest,
)
from paddock.store.manifests import ManifestFile, Manifests, SomeManifests
from paddock.store.model_files import check_manifest
from paddock.store.names import ModelName
from paddock.store.stored_model import MAX_TEXT_BYTES, ModelReader, StoredModel, damaged, unreadable
from paddock.store.views import Views

__all__ = ["MAX_TEXT_BYTES", "Library", "StoredModel", "TensorList"]

TensorList = list[dict[str, object]]

_log = logging.getLogger(__name__)


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
        self._known_facts = KnownFacts(root)
        self._reader = ModelReader(self.blobs, self._known_facts)
        self._catalogue = Catalogue(self._readable)
        self._lock_file = root / "lock"
        self.leases = Leases(root, self._exclusive)
        """Whoever will need blobs holds a lease on them before looking whether they are there."""
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
        with told_plainly():
            present = self.blobs.digests()
        models = self._catalogue.models(self._manifests.listed(), present)
        return sorted(models, key=lambda model: model.modified_at, reverse=True)

    def get(self, name: ModelName) -> StoredModel:
        """A model, whatever case its name is written in.

        NotFound; DamagedModel if what is stored cannot be read; UnsupportedModel if it is another program's.
        """
        found = self._found(name)
        try:
            return self._reader.stored(found)
        except DamagedModel:
            with self._exclusive():  # it may only have been replaced or deleted while it was being read
                return self._reader.stored(self._found(name))

    def manifest_bytes(self, name: ModelName) -> bytes:
        """The manifest of a model, byte by byte. NotFound; DamagedModel if it was put aside."""
        return self._found(name).data

    def _found(self, name: ModelName) -> ManifestFile:
        found = self._manifests.read(name)
        if found is not None:
            return found
        if self._manifests.was_put_aside(name):
            raise unreadable(name)
        raise NotFound(f"model '{name.display}' not found")

    def copy(self, source: ModelName, destination: ModelName) -> None:
        """Give a model a second name; its manifest is copied byte by byte. NotFound."""
        with self._exclusive():
            found = self._manifests.read(source)
            if found is None:
                raise NotFound(f'model "{source.display}" not found')
            self._reader.manifest(found)
            self._replace(destination, found.data)

    def delete(self, name: ModelName) -> None:
        """Remove a name, and every blob that no other manifest refers to. NotFound. A damaged manifest goes as well."""
        with self._exclusive():
            found, was_put_aside = self._manifests.read(name), self._manifests.drop_put_aside(name)
            if found is not None:
                self._manifests.remove(found.name)
                self._release(found.data)
            elif not was_put_aside:
                raise NotFound(f"model '{name.display}' not found")

    def put(
        self, name: ModelName, manifest: Manifest, contents: Iterable[bytes] = (), lease: Lease | None = None
    ) -> StoredModel:
        """Store a manifest under a name, at once and durably; what it replaces is cleaned away, though the lease may
        hold it, which is the caller's own.

        `contents` are those of its blobs that are not in the store yet: added under the same lock, so that no deletion
        falls between. NotFound if another of its blobs is not there; then the name is as it was.
        """
        with self._exclusive():
            for content in contents:
                self.blobs.add_bytes(content)
            self._check_sizes(manifest)
            return self._written(self._replace(name, manifest.encode(), lease))

    def put_bytes(self, name: ModelName, data: bytes) -> StoredModel:
        """Store a manifest from elsewhere under a name, byte by byte; all of its blobs are here already.

        Its files are checked like those of a new model, and what they say counts, not what its description says.
        StoreError for what is no manifest, NotFound if a blob is not here, InvalidModelFiles or UnsupportedModel for
        what no engine can run, DamagedModel if its parameters or its messages are none; then the name is as it was.
        """
        manifest = Manifest.parse(data)
        self._check_sizes(manifest)
        self._reader.config(manifest, name)
        facts = check_manifest(manifest, self.blobs.path, self._reader.template(manifest))
        with self._exclusive():
            self._check_sizes(manifest)
            self._known_facts.note(manifest_digest(data), facts)
            # What else is said of it has to be readable before it takes a name.
            self._reader.stored(ManifestFile(name, data, datetime.now().astimezone()))
            return self._written(self._replace(name, data))

    def _check_sizes(self, manifest: Manifest) -> None:
        """NotFound for a blob that is not here; StoreError if one has another size than the manifest gives."""
        for layer in manifest.blobs:
            if self.blobs.size(layer.digest) != layer.size:
                raise StoreError("The manifest gives one of its blobs another size than it has.")

    def get_held(self, name: ModelName, lease: Lease) -> StoredModel:
        """As `get`; the lease holds its blobs since before it was read, so none of them goes meanwhile. Blocks."""
        model = self.get(name)
        while True:
            lease.add(layer.digest for layer in model.manifest.blobs)
            again = self.get(name)
            if again.digest == model.digest:
                return again
            model = again

    def hold(self, model: StoredModel) -> AbstractAsyncContextManager[Lease]:
        """Let the files of a model stay where they are while the block runs, even if it is deleted or replaced."""
        return self.leases.held((f"sha256:{model.digest}", *(layer.digest for layer in model.manifest.blobs)))

    def discard(self, digests: Iterable[str], lease: Lease | None = None) -> None:
        """Remove those of these blobs that no model needs and nobody holds, but for this lease: what was brought in for
        a model that came to nothing."""
        with self._exclusive():
            in_use = self._manifests.in_use()
            if in_use.is_certain:
                for digest in set(digests) - in_use.blobs - self.leases.digests(apart_from=lease):
                    self.blobs.remove(digest)

    def collect(self, older_than_seconds: float = GRACE_SECONDS, *, is_dry: bool = False) -> Collection:
        """Remove uploads that no model came of, and what a crash left behind; with `is_dry`, only tell what would go.

        Younger ones stay, as somebody may be about to use them, and so does whatever somebody holds a lease on. All
        blobs stay while nobody knows what a damaged model needs. What came of pulls stays for a week.
        """
        with self._exclusive():
            collector = Collector(self.root, self.blobs, self._manifests, self._views, self.leases)
            return collector.collect(older_than_seconds, is_dry=is_dry)

    def files(self, model: StoredModel) -> dict[str, Path]:
        """The model's own files by name, where they lie. DamagedModel if one is missing or has another size.

        A blob that the disk has damaged is removed on the way, so that creating the model again uploads it again.
        """
        for layer in (*model.manifest.files, *model.manifest.draft_files):
            if problem := self._problem(layer):
                raise DamagedModel(
                    f"Model '{model.name.display}' is damaged: its file {layer.name} is {problem}; create it again."
                )
        return {layer.file_name: self.blobs.path(layer.digest) for layer in model.manifest.files}

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
        self.files(model)  # may read all of them, which nobody else should wait for
        with self._exclusive():
            self.files(model)
            return self._views.make(model.digest, model.manifest)

    def model_info(self, model: StoredModel) -> dict[str, object]:
        """The `model_info` of /api/show, read from the model's files. DamagedModel."""
        try:
            return model_facts.model_info(self.files(model))
        except InvalidModelFiles as error:
            raise damaged(model.name) from error

    def tensors(self, model: StoredModel) -> TensorList:
        """Name, type and shape of every tensor. DamagedModel."""
        try:
            return model_facts.tensors(self.files(model))
        except InvalidModelFiles as error:
            raise damaged(model.name) from error

    def _exclusive(self) -> AbstractContextManager[None]:
        return exclusive(self._lock_file)

    def _readable(self, listed: Listed) -> tuple[StoredModel, frozenset[str]] | None:
        """A model for the list, and the blobs that it was read from."""
        name = listed.name
        if name is None:
            return None
        try:
            model = self._stored_exactly(name)
        except PaddockError as error:
            level = logging.DEBUG if isinstance(error, NotFound | UnsupportedModel) else logging.WARNING
            _log.log(level, "left out of the list: %s", error.message)
            return None
        described = set(model.manifest.blobs) - {*model.manifest.files, *model.manifest.draft_files}
        return model, frozenset(layer.digest for layer in described)

    def _stored_exactly(self, name: ModelName) -> StoredModel:
        """As `get`, for a name in the case that is on disk."""
        found = self._manifests.read_exactly(name)
        if found is not None:
            with contextlib.suppress(DamagedModel):
                return self._reader.stored(found)
        return self.get(name)

    def _replace(self, name: ModelName, data: bytes, lease: Lease | None = None) -> ModelName:
        """Write a manifest and clean away what only the old one under this name needed. Under the lock."""
        old = self._manifests.read(name)
        stored = self._manifests.write(name, data)
        if old is not None and old.data != data:
            self._release(old.data, lease)
        return stored

    def _written(self, name: ModelName) -> StoredModel:
        """The model that was just written. Under the lock, or somebody may delete it meanwhile."""
        found = self._manifests.read_exactly(name)
        assert found is not None, "nobody else writes under the lock"
        return self._reader.stored(found)

    def _release(self, data: bytes, lease: Lease | None = None) -> None:
        """Remove the view and the blobs of a manifest that is gone, but for what models need or others than this lease
        hold. Under the lock."""
        try:
            in_use, held = self._manifests.in_use(), self.leases.digests(apart_from=lease)
        except StoreError as error:
            _log.warning("what only a model needed that is gone stays for now: %s", error.message)
            return
        digest = manifest_digest(data)
        if digest not in in_use.manifests and f"sha256:{digest}" not in held:
            self._views.remove(digest)
            self._known_facts.forget(digest)
        if not in_use.is_certain:
            return
        try:
            gone = {layer.digest for layer in Manifest.parse(data).blobs}
        except StoreError:
            return
        for digest in gone - in_use.blobs - held:
            self.blobs.remove(digest)
