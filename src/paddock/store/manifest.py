"""A manifest: the list of blobs that make a model, as the JSON that registries exchange. It opens no files."""

from __future__ import annotations

import hashlib

import msgspec

from paddock.errors import BadRequest, StoreError
from paddock.store.names import parse_digest
from paddock.vetting.tensor_layers import file_of

MAX_MANIFEST_BYTES = 4 * 1024 * 1024

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
WEIGHTS_TYPE = "application/vnd.paddock.image.weights"
"""A safetensors file of the model, whole; `name` is its file name."""
TENSOR_TYPE = "application/vnd.ollama.image.tensor"
"""A tensor of the model, or a group of them, in a small safetensors file; `name` is that of the tensor."""
JSON_TYPE = "application/vnd.ollama.image.json"
"""Any other file that the model is read from (config, tokenizer, chat template); `name` is its file name."""
TEMPLATE_TYPE = "application/vnd.ollama.image.template"
SYSTEM_TYPE = "application/vnd.ollama.image.system"
PARAMETERS_TYPE = "application/vnd.ollama.image.params"
MESSAGES_TYPE = "application/vnd.ollama.image.messages"
LICENSE_TYPE = "application/vnd.ollama.image.license"
DRAFT_FOLDER = "draft/"
"""What the names of the draft model's files begin with."""
_FOREIGN_DRAFT = "draft."
"""What the names of tensors of Ollama's own drafts begin with, which foresee in ways that no engine here has."""

FILE_TYPES = (WEIGHTS_TYPE, TENSOR_TYPE, JSON_TYPE)
"""Layers that are files of the model itself; the others are what was said about it at its creation."""


class Layer(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A blob and what it is. `digest` is canonical: `sha256:` and lower-case hex."""

    media_type: str
    digest: str
    size: int
    """In bytes."""
    name: str | None = None

    @property
    def file_name(self) -> str:
        """The name of its file among those of the model. InvalidModelFiles for a tensor whose name makes none."""
        name = str(self.name)
        return file_of(name) if self.media_type == TENSOR_TYPE else name


class Manifest(msgspec.Struct, frozen=True):
    """The config blob and the layers, in order."""

    config: Layer
    layers: tuple[Layer, ...]

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """The manifest in a file's bytes; StoreError for anything else.

        Every digest is checked here, so nothing that reaches a path is unchecked (CVE-2024-37032).
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise StoreError("The manifest is too large to be one.")
        try:
            manifest = msgspec.json.decode(data, type=cls)
            return cls(_checked(manifest.config), tuple(_checked(layer) for layer in manifest.layers))
        except (ValueError, RecursionError, BadRequest):
            raise StoreError("The manifest is damaged.") from None

    def encode(self) -> bytes:
        """The bytes to store; the same manifest always gives the same ones."""
        return msgspec.json.encode({"schemaVersion": 2, "mediaType": MANIFEST_TYPE} | msgspec.structs.asdict(self))

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """The config and all layers: every blob that this manifest keeps alive."""
        return (self.config, *self.layers)

    @property
    def files(self) -> tuple[Layer, ...]:
        """The layers that are files of the model, each with a name."""
        return tuple(layer for layer in self._named if not str(layer.name).startswith(DRAFT_FOLDER))

    @property
    def draft_files(self) -> tuple[Layer, ...]:
        """The files of its draft model, under the names that they have there; none of one that no engine here runs."""
        found = tuple(
            msgspec.structs.replace(layer, name=str(layer.name).removeprefix(DRAFT_FOLDER))
            for layer in self._named
            if str(layer.name).startswith(DRAFT_FOLDER)
        )
        return found if any(layer.media_type != JSON_TYPE for layer in found) else ()

    @property
    def has_tensors(self) -> bool:
        """Whether its weights are stored one tensor at a time."""
        return any(layer.media_type == TENSOR_TYPE for layer in self.files)

    @property
    def _named(self) -> tuple[Layer, ...]:
        return tuple(
            layer
            for layer in self.layers
            if layer.media_type in FILE_TYPES
            and layer.name
            and not (layer.media_type == TENSOR_TYPE and layer.name.startswith(_FOREIGN_DRAFT))
        )

    @property
    def size_bytes(self) -> int:
        """What the model takes on disk, shared blobs included."""
        return sum(layer.size for layer in self.blobs)

    def of_type(self, media_type: str) -> tuple[Layer, ...]:
        """The layers of one media type."""
        return tuple(layer for layer in self.layers if layer.media_type == media_type)


def manifest_digest(data: bytes) -> str:
    """What a model is identified by: the SHA-256 of its manifest's bytes, in hex without a prefix."""
    return hashlib.sha256(data).hexdigest()


def _checked(layer: Layer) -> Layer:
    if not 0 <= layer.size < 2**63:
        raise ValueError("impossible size")
    return msgspec.structs.replace(layer, digest=parse_digest(layer.digest))
