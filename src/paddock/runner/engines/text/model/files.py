"""What a model's folder must look like before anything of it is loaded. It knows no MLX.

Nothing here runs code of the folder, and a folder that wants to have code run is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paddock.errors import DamagedModel, InvalidModelFiles, UnsupportedModel
from paddock.vetting.code import check_references, is_native, refuse_code_file
from paddock.vetting.model_config import CONFIG_FILE, check_config
from paddock.vetting.model_config import read_config as read_bounded
from paddock.vetting.settings import check_settings
from paddock.vetting.weights import check_parameters, check_weights

_RECREATE = "pull or create the model again"
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")

_WINDOW_IGNORED = frozenset({"gemma2", "mistral", "mixtral", "phi3", "phimoe", "starcoder2"})
_OPTIONAL_WINDOW_IGNORED = frozenset({"qwen2", "qwen2_moe", "qwen3", "qwen3_moe"})
"""Architectures of which mlx-lm knows only full attention; the optional ones say when they slide."""


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder whose files are all there and whole, and do not attack their reader.

    DamagedModel names the file that is missing, short or wrong; UnsupportedModel is for models that bring code.
    """
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    if CONFIG_FILE not in files:
        raise DamagedModel(f"{CONFIG_FILE} is missing: {_RECREATE}.")
    try:
        config = read_bounded(files[CONFIG_FILE])
        _refuse_code(files, config)
        check_config(config)
        check_settings(files)
        check_parameters(config, check_weights(files))
    except InvalidModelFiles as error:
        raise DamagedModel(f"{error.message.rstrip('.')}; {_RECREATE}.") from None
    return config


def _refuse_code(files: dict[str, Path], config: dict[str, Any]) -> None:
    try:
        for name in files:
            refuse_code_file(name)
        check_references(config, CONFIG_FILE, may_be_mapped=is_native(config.get("model_type")))
    except InvalidModelFiles as error:
        raise UnsupportedModel(error.message) from None


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
