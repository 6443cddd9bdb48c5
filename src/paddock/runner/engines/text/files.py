"""What a model's folder must look like before anything of it is loaded. It knows no MLX.

Nothing here runs code of the folder, and a folder that wants to have code run is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from paddock.errors import DamagedModel, UnsupportedModel

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"

_RECREATE = "pull or create the model again"
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")

_WINDOW_IGNORED = frozenset({"gemma2", "mistral", "mixtral", "phi3", "phimoe", "starcoder2"})
_OPTIONAL_WINDOW_IGNORED = frozenset({"qwen2", "qwen2_moe", "qwen3", "qwen3_moe"})
"""Architectures of which mlx-lm knows only full attention; the optional ones say when they slide."""


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder whose files are all there and whole.

    DamagedModel names the file that is missing, short or wrong; UnsupportedModel is for models that bring code.
    """
    config = _read_object(folder / CONFIG)
    if config.get("model_file") or config.get("auto_map"):
        raise UnsupportedModel("This model wants to run Python code from its own folder, which Paddock never does.")
    if not isinstance(config.get("model_type"), str):
        raise DamagedModel(f"{CONFIG} names no model_type: {_RECREATE}.")
    _check_weights(folder)
    return config


def context_limit(config: dict[str, Any]) -> int | None:
    """Tokens that the model itself can take; None if it does not say.

    A yarn-scaled model says how far it was trained and by how much that is stretched. Where mlx-lm leaves out the
    sliding window of an architecture, answers are right as long as nothing slides out of it, and no further.
    """
    text = {**config, **(config.get("text_config") or {})}
    limits = [limit for limit in (_trained_limit(text), _ignored_window(text)) if limit is not None]
    return min(limits, default=None)


def _trained_limit(text: dict[str, Any]) -> int | None:
    known = [text[key] for key in _CONTEXT_KEYS if isinstance(text.get(key), int) and text[key] > 0]
    if not known:
        return None
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    stretched = 0.0
    if scaling.get("rope_type", scaling.get("type")) == "yarn":
        stretched = scaling.get("factor", 1) * scaling.get("original_max_position_embeddings", 0)
    return max(known[0], int(stretched))


def _ignored_window(text: dict[str, Any]) -> int | None:
    window = text.get("sliding_window")
    kind, layers = text.get("model_type"), text.get("layer_types")
    ignored = kind in _WINDOW_IGNORED or (kind in _OPTIONAL_WINDOW_IGNORED and bool(text.get("use_sliding_window")))
    # Mistral runs as a Llama, which does slide where it is given a list of layers.
    slides = not layers or ("sliding_attention" in layers and kind != "mistral")
    return window if ignored and slides and isinstance(window, int) and window > 0 else None


def end_tokens(folder: Path, config: dict[str, Any]) -> set[int]:
    """Ids that end a text, from the model's config and its generation config (a list or one number in each)."""
    path = folder / "generation_config.json"
    generation = _read_object(path) if path.exists() else {}
    text = config.get("text_config") or {}
    return {
        token
        for source in (config, text, generation)
        for token in _as_list(source.get("eos_token_id"))
        if isinstance(token, int)
    }


def _as_list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def _read_object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DamagedModel(f"{path.name} is missing: {_RECREATE}.") from None
    except (ValueError, OSError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DamagedModel(f"{path.name} is not readable JSON: {_RECREATE}.")
    return found


def _check_weights(folder: Path) -> None:
    index = folder / INDEX
    named = set(_read_object(index).get("weight_map", {}).values()) if index.exists() else set()
    for name in sorted(map(str, named)):
        if not (folder / name).exists():
            raise DamagedModel(f'The weights file "{name}" is missing: {_RECREATE}.')
    # The pattern by which mlx-lm finds weights, whatever the index says.
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise DamagedModel(f"No weights (model*.safetensors) are there: {_RECREATE}.")
    for file in files:
        _check_file(file)


def _check_file(path: Path) -> None:
    """Refuse a file whose header does not account for every byte of it: MLX would read past its end."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError):
        message = f'The weights file "{path.name}" is damaged (cut short, or no safetensors file): {_RECREATE}.'
        raise DamagedModel(message) from None
