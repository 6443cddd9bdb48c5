"""Configs as transformers 5 saves them, put into the words that mlx-lm's architectures read. Pure: dicts in, dicts out.

transformers 5 nests what concerns rotary embeddings under `rope_parameters` and renamed keys; most architectures of
mlx-lm do not know that and would silently use their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

Config = Mapping[str, Any]

_TWO_NAMES = (("num_experts", "num_local_experts"), ("num_local_experts", "num_experts"))
"""Two names of one thing: whichever is missing is added."""

_OLDER_NAMES = {"block_dim": "hidden_size", "n_ctx": "n_positions"}
"""What some architectures still insist on, and the name under which it is saved now."""

_IMPLIED: Mapping[str, Mapping[str, Any]] = {
    "apertus": {"mlp_bias": False, "post_norm": False, "qk_norm": True},
}
"""Keys that transformers no longer saves because they have one value for the whole architecture."""

_OLD_LAYER_TYPES = {"linear_attention": "mamba", "full_attention": "attention"}
_KEY_OF_OLD_LAYER_TYPES = {"granitemoehybrid": "layer_types", "jamba": "layers_block_type"}
"""The architectures that know layers only by their old names, and where they look for them."""

_ROPE_ONLY = frozenset({"rope_theta", "partial_rotary_factor", "rope_type", "type"})


def overrides(config: Config, required: Collection[str] = ()) -> dict[str, Any]:
    """What to lay over `config` before mlx-lm reads it; empty for a config that it understands as it is.

    `required` are the keys that the architecture demands: some are only filled in for those that do.
    """
    added = _flat(config, required) | _old_layer_types(config) | _letters_of_layers(config)
    text = config.get("text_config")
    if isinstance(text, Mapping) and (nested := _flat(text, ())):
        added["text_config"] = {**text, **nested}
    return added


def misread(config: Config) -> str:
    """What of this model mlx-lm would compute wrongly, in a few words; empty if nothing is known to be.

    Each was found by comparing tiny models with transformers.
    """
    is_misread, words = _MISREAD.get(str(config.get("model_type")), (lambda _config: False, ""))
    return words if is_misread(config) else ""


def _with_rope(config: Config) -> Config:
    return {**config, **_rope(config)}


_MISREAD: Mapping[str, tuple[Callable[[Config], bool], str]] = {
    # It normalises over all channels where these were trained with one norm per group; Falcon's need not have norms.
    "mamba2": (lambda config: config.get("n_groups", 1) != 1, "Mamba 2 with more than one group"),
    "granitemoehybrid": (
        lambda config: config.get("mamba_n_groups", 1) != 1,
        "Granite's hybrid with more than one group in its Mamba layers",
    ),
    "falcon_h1": (
        lambda config: config.get("mamba_n_groups", 1) != 1 and bool(config.get("mamba_rms_norm")),
        "Falcon H1 with norms in more than one group",
    ),
    # It chooses experts before the softmax, which makes their weights sum up to one where they should not.
    "jamba": (lambda config: config.get("num_experts", 16) > 1, "Jamba's mixture of experts"),
    # It rotates whole heads; the default is that of transformers.
    "glm": (
        lambda config: _with_rope(config).get("partial_rotary_factor", 0.5) != 1,
        "GLM with partly rotated heads",
    ),
    # It drops the bias that was trained to spread tokens over experts, and so chooses others.
    "ernie4_5_moe": (lambda _config: True, "ERNIE 4.5's mixture of experts"),
    # It rotates by the usual frequencies, whatever the model was trained with.
    "recurrent_gemma": (
        lambda config: _with_rope(config).get("rope_theta", 10000) != 10000,
        "RecurrentGemma with rotary frequencies of its own",
    ),
}


def _flat(config: Config, required: Collection[str]) -> dict[str, Any]:
    found = {
        **_IMPLIED.get(str(config.get("model_type")), {}),
        **_names(config, required),
        **_layer_pattern(config),
        **_sizes(config, required),
        **_rope(config),
    }
    return {key: value for key, value in found.items() if config.get(key) is None}


def _names(config: Config, required: Collection[str]) -> dict[str, Any]:
    pairs = [*_TWO_NAMES, *((old, new) for old, new in _OLDER_NAMES.items() if old in required)]
    return {missing: config[known] for missing, known in pairs if config.get(known) is not None}


def _old_layer_types(config: Config) -> dict[str, Any]:
    key = _KEY_OF_OLD_LAYER_TYPES.get(str(config.get("model_type")))
    types = config.get("layer_types")
    if key is None or not isinstance(types, list):
        return {}
    return {key: [_OLD_LAYER_TYPES.get(kind, kind) for kind in types]}


def _letters_of_layers(config: Config) -> dict[str, Any]:
    """EXAONE 4's kinds of layers, which mlx-lm knows as letters, and transformers saves as a period or not at all."""
    types = config.get("layer_types")
    if config.get("model_type") != "exaone4" or not isinstance(types, list):
        return {}
    slides = [kind == "sliding_attention" for kind in types]
    return {"sliding_window_pattern": "".join("L" if each else "G" for each in slides) if any(slides) else None}


def _layer_pattern(config: Config) -> dict[str, Any]:
    """The period of full-attention layers, which older configs gave in place of a list of layer types."""
    types = config.get("layer_types")
    if not isinstance(types, list) or "full_attention" not in types:
        return {}
    period = types.index("full_attention") + 1
    return {"sliding_window_pattern": period, "full_attention_interval": period}


def _sizes(config: Config, required: Collection[str]) -> dict[str, Any]:
    """Sizes that follow from others, for the architectures that insist on them."""
    found: dict[str, Any] = {}
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if "head_dim" in required and isinstance(hidden, int) and isinstance(heads, int):
        found["head_dim"] = hidden // heads
    expand = config.get("expand")
    if "intermediate_size" in required and isinstance(hidden, int) and isinstance(expand, int | float):
        found["intermediate_size"] = int(expand * hidden)
    return found


def _rope(config: Config) -> dict[str, Any]:
    parameters = config.get("rope_parameters")
    if not isinstance(parameters, Mapping):
        return {}
    by_layer = {name: value for name, value in parameters.items() if isinstance(value, Mapping)}
    if not by_layer:
        return _one_rope(parameters)
    main = by_layer.get("full_attention") or next(iter(by_layer.values()))
    local = by_layer.get("sliding_attention", {}).get("rope_theta")
    return {**_one_rope(main), **({} if local is None else {"rope_local_base_freq": local})}


def _one_rope(parameters: Config) -> dict[str, Any]:
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    scaling = {key: value for key, value in parameters.items() if key not in _ROPE_ONLY}
    scaling |= {"type": kind, "rope_type": kind}
    found: dict[str, Any] = {"rope_scaling": None if kind == "default" else scaling}
    if (theta := parameters.get("rope_theta")) is not None:
        found["rope_theta"] = found["rotary_emb_base"] = theta
    if (share := parameters.get("partial_rotary_factor")) is not None:
        found["partial_rotary_factor"] = found["rotary_pct"] = share
    return found
