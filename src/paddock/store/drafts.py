"""Which model may be another one's draft: one that says the same in the same tokens, only quicker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from paddock.errors import BadRequest
from paddock.store.facts import ModelFacts
from paddock.store.library import Library, StoredModel
from paddock.store.manifest import DRAFT_FOLDER, Layer
from paddock.store.names import ModelName

_TOKENIZER_FILE = "tokenizer.json"
_TOKENIZER_FILES = (_TOKENIZER_FILE, "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
"""The files that tokens and their ids come from, those that are looked at first at the beginning."""
_MOST_READ_BYTES = 32 * 1024 * 1024
"""Larger tokenizers are compared by the runner, which holds nobody up."""


class _Words(msgspec.Struct):
    vocab: Any = None


class _Added(msgspec.Struct):
    content: str
    id: int


class _Tokenizer(msgspec.Struct):
    """The part of a tokenizer.json that ids come from."""

    model: _Words | None = None
    added_tokens: tuple[_Added, ...] = ()


def find_draft(library: Library, name: str, facts: ModelFacts, files: Mapping[str, Path]) -> StoredModel:
    """The model of this name, as a draft for one with these facts and files. NotFound, or BadRequest that says why it
    cannot be one."""
    draft = library.get(ModelName.parse(name))
    if facts.engine != "text" or draft.facts.engine != "text":
        raise BadRequest("A draft model foresees text: both it and the model that it is for must be text models.")
    if any(each.layers is not None and each.layers.state_values for each in (facts, draft.facts)):
        raise BadRequest(
            "A draft model is of no use with recurrent layers, which cannot take tokens back: leave it out."
        )
    if not _have_same_tokens(files, library.files(draft)):
        raise BadRequest(
            f"'{draft.name.display}' cannot be the draft model: its tokenizer is not the model's own; "
            "choose one of the same family."
        )
    return draft


def draft_layers(files: Iterable[Layer]) -> tuple[Layer, ...]:
    """A draft model's files as layers of the model that it is for."""
    return tuple(msgspec.structs.replace(layer, name=f"{DRAFT_FOLDER}{layer.name}") for layer in files)


def _have_same_tokens(files: Mapping[str, Path], others: Mapping[str, Path]) -> bool:
    """Whether ids mean the same. What cannot be told here, the runner tells."""
    name = next((name for name in _TOKENIZER_FILES if name in files and name in others), None)
    if name is None:
        return True
    one, other = files[name], others[name]
    if one.read_bytes() == other.read_bytes():
        return True
    if name != _TOKENIZER_FILE:
        return False
    if max(path.stat().st_size for path in (one, other)) > _MOST_READ_BYTES:
        return True
    return _tokens(one) == _tokens(other)


def _tokens(path: Path) -> dict[str, int]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Tokenizer)
    except (ValueError, RecursionError):
        raise BadRequest("The tokenizer of the model or of its draft cannot be read.") from None
    words = found.model.vocab if found.model else None
    if isinstance(words, list):
        words = {str(word[0]): number for number, word in enumerate(words) if isinstance(word, list) and word}
    known = dict(words) if isinstance(words, dict) else {}
    return {**known, **{added.content: added.id for added in found.added_tokens}}
