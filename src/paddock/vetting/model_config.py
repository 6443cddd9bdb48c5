"""A model's own config.json: read with bounds, and what it says of sizes whatever its architecture calls them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddock.errors import InvalidModelFiles
from paddock.vetting.code import check_references, is_native

MAX_CONFIG_BYTES = 1024 * 1024
MAX_DEPTH = 16
CONFIG_FILE = "config.json"

_SIZES: Mapping[str, tuple[str, ...]] = {
    "context_length": (
        "max_position_embeddings",
        "n_positions",
        "max_sequence_length",
        "max_seq_len",
        "seq_length",
        "n_ctx",
    ),
    "embedding_length": ("hidden_size", "n_embd", "d_model", "dim"),
    "block_count": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "attention.head_count": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "attention.head_count_kv": ("num_key_value_heads", "n_head_kv", "n_kv_heads", "num_kv_heads"),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim"),
    "vocab_size": ("vocab_size",),
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
}
"""Ollama's word for a size, and the keys under which architectures give it."""

_MOST: Mapping[str, int] = {
    "context_length": 16_777_216,
    "embedding_length": 65_536,
    "block_count": 1_024,
    "attention.head_count": 1_024,
    "attention.head_count_kv": 1_024,
    "feed_forward_length": 1_048_576,
    "vocab_size": 2_000_000,
    "expert_count": 4_096,
}
"""Beyond these no real model lies, and a hostile one would make its runner allocate without end."""


def read_config(path: Path, name: str = CONFIG_FILE, most_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """The object in a JSON file; InvalidModelFiles for what is no JSON object, too large or too deep."""
    config = read_json(path, name, most_bytes)
    if not isinstance(config, dict):
        raise InvalidModelFiles(f"The file {name} is not the description of a model.")
    return config


def read_json(path: Path, name: str, most_bytes: int = MAX_CONFIG_BYTES) -> object:
    """What is in a JSON file, all numbers finite; InvalidModelFiles for what is no JSON, too large or too deep."""
    try:
        data = path.read_bytes() if path.stat().st_size <= most_bytes else None
    except OSError:
        raise InvalidModelFiles(f"The file {name} cannot be read.") from None
    if data is None:
        raise InvalidModelFiles(f"The file {name} is larger than {most_bytes} bytes.")
    try:
        found = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except _NotFinite:
        raise InvalidModelFiles(f"The file {name} holds a number that is not finite.") from None
    except (ValueError, RecursionError):
        raise InvalidModelFiles(f"The file {name} is not valid JSON.") from None
    if _depth(found) > MAX_DEPTH:
        raise InvalidModelFiles(f"The file {name} is not the description of a model.")
    return found


class _NotFinite(ValueError):
    """A number that is none, or too large for one."""


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise _NotFinite
    return number


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a config that names code to run, or sizes that no model has."""
    check_references(config, CONFIG_FILE, may_be_mapped=is_native(config.get("model_type")))
    if not isinstance(config.get("model_type"), str):
        raise InvalidModelFiles("The file config.json has no model_type, so no engine can be chosen for it.")
    for part in (text_part(config), config):
        for word, most in _MOST.items():
            _check_size(part, word, most)


def _check_size(part: Mapping[str, Any], word: str, most: int) -> None:
    """A size may be missing or null, but not negative and not beyond the bound: engines allocate by it."""
    for key in _SIZES[word]:
        size = part.get(key)
        if isinstance(size, int | float) and not isinstance(size, bool) and not 0 <= size <= most:
            raise InvalidModelFiles(f"The file config.json gives a {key} of {size}, which no model has.")


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part about the language model: models with several towers keep it in `text_config`."""
    part = config.get("text_config")
    return part if isinstance(part, dict) else config


def sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that the config gives, by Ollama's words; those it does not give, or gives as 0, are left out."""
    found = {word: _first_size(config, keys) for word, keys in _SIZES.items()}
    return {word: size for word, size in found.items() if size > 0}


def _first_size(config: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    for part in (text_part(config), config):
        for key in keys:
            if type(part.get(key)) is int:
                return int(part[key])
    return 0


def _depth(value: object) -> float:
    """Nesting of containers, counted no further than one beyond the limit (and not by recursion)."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
        depth += 1 if containers else 0
    return depth if not level else math.inf
