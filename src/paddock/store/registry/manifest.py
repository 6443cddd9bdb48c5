"""What a registry says that a model is made of: read strictly, before anything of it is asked for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from paddock.errors import InvalidModelFiles, RemoteFailed, UnsupportedModel
from paddock.store.manifest import DRAFT_FOLDER, JSON_TYPE, MANIFEST_TYPE, TENSOR_TYPE, WEIGHTS_TYPE
from paddock.store.model_files import media_type_of
from paddock.store.transfer.remote_file import RemoteFile, is_plain_name

OCI_TYPE = "application/vnd.oci.image.manifest.v1+json"
ACCEPTED_TYPES = (MANIFEST_TYPE, OCI_TYPE)
MAX_SMALL_BYTES = 64 * 1024 * 1024
"""Of a layer that is not weights."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_GGUF_TYPES = tuple(f"application/vnd.ollama.image.{kind}" for kind in ("model", "projector", "adapter"))
_WEIGHTS_TYPES = (WEIGHTS_TYPE, TENSOR_TYPE)


class _Layer(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int
    name: str | None = None


class _Manifest(msgspec.Struct, rename="camel"):
    schema_version: int
    config: _Layer
    layers: tuple[_Layer, ...]
    media_type: str = ""


@dataclass(frozen=True)
class RemoteManifest:
    """A manifest as it came, and the blobs that it names, each once."""

    data: bytes
    media_type: str
    config: RemoteFile
    small: tuple[RemoteFile, ...]
    """The config, and all that is not weights."""
    weights: tuple[RemoteFile, ...]
    is_per_tensor: bool
    """Whether each of the weights is one tensor, and so one of very many."""

    @property
    def blobs(self) -> tuple[RemoteFile, ...]:
        """All of them."""
        return (*self.small, *self.weights)


def parse_manifest(what: str, data: bytes) -> RemoteManifest:
    """A registry's manifest; `what` is what messages call the model.

    RemoteFailed if it is none or means harm; UnsupportedModel or InvalidModelFiles, before anything is fetched, for a
    model that could not be run.
    """
    manifest = _decoded(what, data)
    layers = (manifest.config, *manifest.layers)
    files = {layer.digest: _file(what, layer) for layer in reversed(layers)}
    if any(files[layer.digest].size_bytes != layer.size for layer in layers):
        raise RemoteFailed(f"{what} is refused: its manifest gives one blob two sizes.")
    _check_kinds(what, manifest.layers)
    weights = {layer.digest for layer in manifest.layers if layer.media_type in _WEIGHTS_TYPES}
    if any(layer.digest in weights and layer.media_type not in _WEIGHTS_TYPES for layer in layers):
        raise RemoteFailed(f"{what} is refused: its manifest calls one blob weights and something else too.")
    for layer in layers:
        if layer.digest not in weights and layer.size > MAX_SMALL_BYTES:
            raise InvalidModelFiles(
                f"{what} has a file beside its weights that is larger than {MAX_SMALL_BYTES} bytes."
            )
    ordered = sorted(files.values(), key=lambda file: file.name)
    return RemoteManifest(
        data=data,
        media_type=manifest.media_type or MANIFEST_TYPE,
        config=files[manifest.config.digest],
        small=tuple(file for file in ordered if f"sha256:{file.sha256}" not in weights),
        weights=tuple(file for file in ordered if f"sha256:{file.sha256}" in weights),
        is_per_tensor=any(layer.media_type == TENSOR_TYPE for layer in manifest.layers),
    )


def _decoded(what: str, data: bytes) -> _Manifest:
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (ValueError, RecursionError):
        raise RemoteFailed(f"The manifest of {what} cannot be read.") from None
    if manifest.schema_version != 2 or manifest.media_type not in ("", *ACCEPTED_TYPES):
        raise RemoteFailed(f"The manifest of {what} is of a kind that is not known here.")
    return manifest


def _file(what: str, layer: _Layer) -> RemoteFile:
    """Every digest is checked here, so nothing that reaches a path or an address is unchecked (CVE-2024-37032)."""
    if not _DIGEST.fullmatch(layer.digest):
        raise RemoteFailed(f"{what} is refused: its manifest names a blob by what is no digest.")
    if not 0 <= layer.size < 2**50:
        raise RemoteFailed(f"{what} is refused: its manifest gives a blob a size that cannot be.")
    if layer.name is not None and not is_plain_name(layer.name):
        raise RemoteFailed(f"{what} is refused: its manifest names a file that is not one inside a model.")
    name = layer.name if layer.name and layer.media_type in (WEIGHTS_TYPE, JSON_TYPE) else layer.digest[7:19]
    return RemoteFile(name, layer.size, sha256=layer.digest.removeprefix("sha256:"))


def _check_kinds(what: str, layers: tuple[_Layer, ...]) -> None:
    if any(layer.media_type in _GGUF_TYPES for layer in layers):
        raise UnsupportedModel(
            f"{what} is in GGUF format, and models run from safetensors here: name a repository of MLX or safetensors "
            "files on the Hugging Face Hub instead, as ORG/REPO."
        )
    if not any(layer.media_type in _WEIGHTS_TYPES for layer in layers):
        raise InvalidModelFiles(f"{what} holds no weights in safetensors, so there is nothing to run.")
    for layer in layers:
        if layer.media_type not in (WEIGHTS_TYPE, JSON_TYPE) or layer.name is None:
            continue
        if media_type_of(layer.name.removeprefix(DRAFT_FOLDER)) != layer.media_type:
            raise InvalidModelFiles(f"{what} calls its file {layer.name} what it is not.")
