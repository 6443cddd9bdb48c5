"""Which models turn texts into vectors or scores, and which of the two, from config.json and the names of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paddock.vetting.code import MODULES_FILE

_FAMILIES = frozenset({"bert", "modernbert", "roberta", "xlm-roberta"})
"""Architectures that can do nothing else."""
_SENTENCE_FILES = frozenset({MODULES_FILE, "config_sentence_transformers.json"})
"""Where one of them is, even a decoder was trained to make embeddings."""


def is_encoder(files: Iterable[str], config: Mapping[str, Any]) -> bool:
    """Whether the embedding engine runs a model of these files and this config."""
    looks_both_ways = config.get("use_bidirectional_attention") is True
    return bool(_SENTENCE_FILES & set(files)) or config.get("model_type") in _FAMILIES or looks_both_ways


def encoder_capability(config: Mapping[str, Any]) -> str:
    """What such a model does: `rerank` for one with the head of a classifier, else `embedding`."""
    architectures = config.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return "rerank" if any(str(name).endswith("ForSequenceClassification") for name in names) else "embedding"
