"""A stored model as its manifest and the small blobs beside its weights describe it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec

from paddock.errors import BadRequest, DamagedModel, NotFound, StoreError, UnsupportedModel
from paddock.store.blobs import Blobs
from paddock.store.facts import ModelFacts
from paddock.store.known_facts import KnownFacts
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
from paddock.store.manifests import ManifestFile
from paddock.store.model_files import check_layer_names, check_manifest
from paddock.store.names import ModelName
from paddock.store.stored_config import MAX_CONFIG_BLOB_BYTES, Origin, Recipe, StoredConfig
from paddock.store.templates import is_go_template

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""Most bytes of a system prompt, a template, a license, the parameters or the messages."""

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
    recipe: Recipe | None = None
    """How its weights were made of another model's, if they were made here."""


class ModelReader:
    """Reads models out of manifests and blobs. `known_facts` keeps what reading took long."""

    def __init__(self, blobs: Blobs, known_facts: KnownFacts) -> None:
        self._blobs = blobs
        self._known_facts = known_facts

    def manifest(self, found: ManifestFile) -> Manifest:
        """The manifest in a file. DamagedModel if it is none, or names files that no model may have."""
        try:
            manifest = Manifest.parse(found.data)
            check_layer_names(manifest.files)
            check_layer_names(manifest.draft_files)
        except (StoreError, BadRequest):
            raise unreadable(found.name) from None
        return manifest

    def stored(self, found: ManifestFile) -> StoredModel:
        """The model of a manifest. DamagedModel; UnsupportedModel if it is another program's."""
        manifest = self.manifest(found)
        try:
            return self._assembled(found, manifest)
        except (NotFound, BadRequest, ValueError, RecursionError):
            raise damaged(found.name) from None

    def _assembled(self, found: ManifestFile, manifest: Manifest) -> StoredModel:
        config = self.config(manifest, found.name)
        return StoredModel(
            name=found.name,
            digest=manifest_digest(found.data),
            size_bytes=manifest.size_bytes,
            modified_at=found.modified_at,
            facts=self._facts(found, manifest, config),
            parameters=self._decoded(manifest, PARAMETERS_TYPE, dict[str, object]) or {},
            system="\n".join(self._texts(manifest, SYSTEM_TYPE)),
            template=self.template(manifest),
            licenses=self._texts(manifest, LICENSE_TYPE),
            messages=self._decoded(manifest, MESSAGES_TYPE, tuple[dict[str, str], ...]) or (),
            parent_model=config.parent_model,
            manifest=manifest,
            draft_model=config.draft.parent_model if config.draft else "",
            origin=config.origin,
            recipe=config.recipe,
        )

    def config(self, manifest: Manifest, name: ModelName) -> StoredConfig:
        """The description. UnsupportedModel if it is that of a model which no engine here runs."""
        config = StoredConfig.decode(self._blobs.read(manifest.config.digest, MAX_CONFIG_BLOB_BYTES), name.display)
        if not config.engine and not manifest.has_tensors:
            raise UnsupportedModel(
                f"Model '{name.display}' is in another program's format: create it from safetensors files instead."
            )
        return config

    def _facts(self, found: ManifestFile, manifest: Manifest, config: StoredConfig) -> ModelFacts:
        """As they were found in the files when the manifest came; of models that were made here the description has
        them."""
        digest = manifest_digest(found.data)
        known = self._known_facts.read(digest)
        if known is None and not config.engine:
            known = check_manifest(manifest, self._blobs.path, self.template(manifest))
            self._known_facts.note(digest, known)
        return known or config.facts

    def template(self, manifest: Manifest) -> str:
        """A Jinja template in place of the model's own; Ollama's, in Go's language, leave the model its own."""
        return "\n".join(text for text in self._texts(manifest, TEMPLATE_TYPE) if not is_go_template(text))

    def _texts(self, manifest: Manifest, media_type: str) -> tuple[str, ...]:
        return tuple(self._read_layer(layer).decode() for layer in manifest.of_type(media_type))

    def _decoded(self, manifest: Manifest, media_type: str, kind: type[_Decoded]) -> _Decoded | None:
        layers = manifest.of_type(media_type)
        return msgspec.json.decode(self._read_layer(layers[-1]), type=kind) if layers else None

    def _read_layer(self, layer: Layer) -> bytes:
        return self._blobs.read(layer.digest, MAX_TEXT_BYTES)


def damaged(name: ModelName) -> DamagedModel:
    """The error for a model of whose files one makes no sense."""
    return DamagedModel(f"Model '{name.display}' is damaged: one of its files cannot be read; create it again.")


def unreadable(name: ModelName) -> DamagedModel:
    """The error for a model whose manifest makes no sense."""
    return DamagedModel(f"Model '{name.display}' is damaged: its manifest cannot be read; create it again.")
