"""What a registry's model says besides its weights, looked at before those are fetched."""

from __future__ import annotations

import msgspec

from paddock.errors import DamagedModel, InvalidModelFiles
from paddock.options import parse_options
from paddock.store.library import MAX_TEXT_BYTES, Library
from paddock.store.manifest import (
    JSON_TYPE,
    LICENSE_TYPE,
    MESSAGES_TYPE,
    PARAMETERS_TYPE,
    SYSTEM_TYPE,
    TEMPLATE_TYPE,
    Layer,
    Manifest,
)
from paddock.store.stored_config import MAX_CONFIG_BLOB_BYTES, StoredConfig
from paddock.store.templates import check_template, is_go_template
from paddock.store.transfer.early import check_early

_TEXTS = (TEMPLATE_TYPE, SYSTEM_TYPE, LICENSE_TYPE, PARAMETERS_TYPE, MESSAGES_TYPE)
_ROLES = ("system", "user", "assistant")


def check_said(library: Library, manifest: Manifest, display: str) -> None:
    """Refuse what would make every request to the model fail; all but its weights is here. Blocks.

    InvalidModelFiles or another BadRequest, UnsupportedModel.
    """
    try:
        StoredConfig.decode(library.blobs.read(manifest.config.digest, MAX_CONFIG_BLOB_BYTES), display)
    except DamagedModel:
        raise InvalidModelFiles(f"The description of {display} cannot be read.") from None
    for layer in manifest.layers:
        if layer.media_type in _TEXTS:
            _check_text(layer, library.blobs.read(layer.digest, MAX_TEXT_BYTES))
    files = [layer for layer in manifest.files if layer.media_type == JSON_TYPE]
    check_early({layer.file_name: library.blobs.path(layer.digest) for layer in files})


def _check_text(layer: Layer, data: bytes) -> None:
    kind = layer.media_type.rpartition(".")[2]
    try:
        text = data.decode()
        if layer.media_type == TEMPLATE_TYPE and not is_go_template(text):
            check_template(text)
        elif layer.media_type == PARAMETERS_TYPE:
            parse_options(msgspec.json.decode(text, type=dict[str, object]), source="parameter")
        elif layer.media_type == MESSAGES_TYPE:
            _check_messages(msgspec.json.decode(text, type=tuple[dict[str, str], ...]))
    except (ValueError, RecursionError):
        raise InvalidModelFiles(f"The layer of the model with its {kind} cannot be read.") from None


def _check_messages(messages: tuple[dict[str, str], ...]) -> None:
    if any(message.keys() != {"role", "content"} or message["role"] not in _ROLES for message in messages):
        raise InvalidModelFiles("The model brings messages with what no message has.")
