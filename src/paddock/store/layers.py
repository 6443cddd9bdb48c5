"""What a text model keeps for each token and computes with, layer by layer, from its config.json alone. Pure.

Which cache a layer has is decided by the architecture's code in mlx-lm; the tables here say which family does what.
What is not known is taken for plain attention over the whole context, which needs the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paddock.vetting.model_config import sizes, text_part

Config = Mapping[str, Any]

_FULL, _WINDOW, _RECURRENT, _BOTH, _NONE = "full", "window", "recurrent", "both", "none"
_TYPES = {
    "full_attention": _FULL,
    "attention": _FULL,
    "sliding_attention": _WINDOW,
    "linear_attention": _RECURRENT,
    "mamba": _RECURRENT,
    "conv": _RECURRENT,
    "recurrent": _RECURRENT,
    "mlp": _NONE,
    "moe": _NONE,
}
_PATTERN_LETTERS = {"*": _FULL, "M": _RECURRENT, "-": _NONE, "E": _NONE}
_WINDOW_PATTERN = {"gemma3": 6, "gemma3_text": 6, "cohere2": 4, "gemma4": 5, "gemma4_text": 5, "gpt_oss": 2}
"""Every so many-th layer sees the whole context, where the config does not say otherwise."""
_WITH_WINDOW = frozenset(_WINDOW_PATTERN) | {
    "afmoe", "exaone4", "exaone_moe", "gemma3n", "laguna", "llama", "mellum", "mimo_v2_flash", "ministral3", "olmo3",
}  # fmt: skip
"""Families whose sliding layers forget what has left the window; the others keep it all."""
_ALL_RECURRENT = frozenset({"mamba", "mamba2", "falcon_mamba", "rwkv7"})
_SIDE_BY_SIDE = frozenset({"falcon_h1"})
_LATENT = frozenset(
    {"deepseek_v3", "deepseek_v32", "glm4_moe_lite", "kimi_k2", "kimi_linear", "longcat_flash", "mistral4"}
)
"""Families that keep the compressed keys and values; others with the same sizes keep them written out."""
_OWN_ATTENTION = _LATENT | _SIDE_BY_SIDE | {
    "baichuan_m1", "bailing_hybrid", "bailing_moe_v3", "deepseek_v41", "gemma2", "glm_moe_dsa", "gpt_oss", "kimi_k25",
    "kimi_k3", "llama4", "llama4_text", "longcat_flash_ngram", "mimo_v2_flash", "minimax_m3_vl", "muse_spark", "olmo",
    "plamo2",
}  # fmt: skip
"""Families whose attention or whose caches are not mlx-lm's common ones, so that they keep their own numbers."""
_DELTA_RULE = frozenset({"qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "kimi_linear", "olmo_hybrid"})


@dataclass(frozen=True)
class CacheLayers:
    """Layers that keep keys and values in the same way."""

    count: int
    heads: int
    key_width: int
    """Of one head."""
    value_width: int
    window: int = 0
    """Tokens that are kept; 0 keeps all."""
    is_plain: bool = True
    """Whether they are read by mlx-lm's common attention alone, which may then keep them in fewer bits."""


@dataclass(frozen=True)
class Layers:
    """The sizes that a text model's memory follows from; all counts are numbers, not bytes."""

    caches: tuple[CacheLayers, ...]
    state_values: int
    """State of the recurrent layers, for each sequence; it does not grow."""
    scanned_width: int
    """Values of each token of a step that recurrent layers hold until the next one: their convolutions' input."""
    scan_heads: int
    """Of a state-space layer: as many matrices of step x step does a step of a prompt make."""
    delta_state: int
    """State of one layer with the delta rule: a step of a prompt holds one for each token."""
    hidden: int
    query_heads: int
    query_width: int
    """Of all heads."""
    feed_forward: int
    """Values between the two halves of the feed-forward network, of all experts that one token goes through."""
    vocabulary: int


def read_layers(config: Config) -> Layers | None:
    """The layers that a config describes; None where it does not say enough."""
    part = text_part(config)
    found = sizes(config)
    hidden = found.get("embedding_length", 0)
    types = _types(part, found.get("block_count", 0))
    if not hidden or not types:
        return None
    heads = found.get("attention.head_count", 0)
    recurrent = sum(kind in (_RECURRENT, _BOTH) for kind in types)
    is_delta = _family(part) in _DELTA_RULE
    state, scanned = _state(part, hidden, is_delta)
    key_width, _ = _widths(part, hidden, heads)
    return Layers(
        caches=tuple(_caches(part, types, found)),
        state_values=recurrent * state,
        scanned_width=recurrent * scanned,
        scan_heads=_scan_heads(part) if recurrent and not is_delta else 0,
        delta_state=_delta_state(part) if recurrent and is_delta else 0,
        hidden=hidden,
        query_heads=heads if any(kind in (_FULL, _WINDOW, _BOTH) for kind in types) else 0,
        query_width=max(heads * key_width, _inner(part, hidden) if recurrent else 0),
        feed_forward=_feed_forward(part, found),
        vocabulary=found.get("vocab_size", 0),
    )


def _family(part: Config) -> str:
    return str(part.get("model_type") or "")


def _size(part: Config, *keys: str) -> int:
    """The first of these that is given as a whole number in a plausible range; 0 if none is."""
    return next((part[key] for key in keys if type(part.get(key)) is int and 0 < part[key] < 2**31), 0)


# ---- which layer is what --------------------------------------------------------------------------------------------


def _types(part: Config, count: int) -> list[str]:
    """The kind of each layer."""
    family = _family(part)
    if family in _ALL_RECURRENT:
        return [_RECURRENT] * count
    if family in _SIDE_BY_SIDE:
        return [_BOTH] * count
    types = list(_listed(part, count) or _patterned(part, count))
    if family in _WITH_WINDOW and _window(part):
        return types
    return [_FULL if kind == _WINDOW else kind for kind in types]


def _listed(part: Config, count: int) -> Iterable[str]:
    """As the config lists them, under whichever key."""
    for key in ("layer_types", "layers_block_type"):
        listed = part.get(key)
        if isinstance(listed, list) and listed and _family(part) not in ("gemma3", "gemma3_text", "cohere2"):
            return [_TYPES.get(kind, _FULL) if isinstance(kind, str) else _FULL for kind in listed]
    pattern = part.get("hybrid_override_pattern")
    if isinstance(pattern, str | list) and pattern:
        return [_PATTERN_LETTERS.get(letter, _FULL) if isinstance(letter, str) else _FULL for letter in pattern]
    chosen = part.get("full_attn_idxs")
    if isinstance(chosen, list):
        return [_FULL if index in chosen else _RECURRENT for index in range(count)]
    return ()


def _patterned(part: Config, count: int) -> list[str]:
    """As every so many-th layer differs from the others."""
    if interval := _size(part, "full_attention_interval"):
        return [_FULL if (index + 1) % interval == 0 else _RECURRENT for index in range(count)]
    if period := _size(part, "attn_layer_period"):
        offset = part.get("attn_layer_offset", 0)
        return [_FULL if index % period == offset else _RECURRENT for index in range(count)]
    pattern = part.get("sliding_window_pattern")
    if isinstance(pattern, str) and pattern:
        return [_WINDOW if pattern[index % len(pattern)] == "L" else _FULL for index in range(count)]
    every = _size(part, "sliding_window_pattern") or _WINDOW_PATTERN.get(_family(part), 0)
    return [_FULL if not every or (index + 1) % every == 0 else _WINDOW for index in range(count)]


def _window(part: Config) -> int:
    return _size(part, "sliding_window", "sliding_window_size")


# ---- attention ------------------------------------------------------------------------------------------------------


def _caches(part: Config, types: list[str], found: Mapping[str, int]) -> Iterable[CacheLayers]:
    heads = found.get("attention.head_count", 0)
    kv_heads = found.get("attention.head_count_kv", heads)
    key_width, value_width = _widths(part, found.get("embedding_length", 0), heads)
    rank = _size(part, "kv_lora_rank")
    if rank and _family(part) in _LATENT:
        kv_heads, key_width, value_width = 1, rank, _size(part, "qk_rope_head_dim")
    elif rank:
        kv_heads = heads
    full = sum(kind in (_FULL, _BOTH) for kind in types)
    sliding = sum(kind == _WINDOW for kind in types)
    if full:
        is_plain = _family(part) not in _OWN_ATTENTION
        yield CacheLayers(full, kv_heads, key_width, value_width, is_plain=is_plain)
    if sliding:
        yield CacheLayers(sliding, kv_heads, key_width, value_width, _window(part))


def _widths(part: Config, hidden: int, heads: int) -> tuple[int, int]:
    """Of one head's keys and values, written out. Without a width of their own the heads share the model's."""
    shared = _size(part, "head_dim") or hidden // max(1, heads)
    if rotated := _size(part, "qk_rope_head_dim"):
        key_width = _size(part, "qk_nope_head_dim") + rotated
        return key_width, _size(part, "v_head_dim") or hidden // max(1, heads)
    return max(shared, _size(part, "global_head_dim")), max(shared, _size(part, "v_head_dim", "global_head_dim"))


def _feed_forward(part: Config, found: Mapping[str, int]) -> int:
    dense = found.get("feed_forward_length", 0)
    chosen = _size(part, "num_experts_per_tok", "num_experts_per_token", "moe_k")
    if not chosen or not found.get("expert_count"):
        return max(dense, _size(part, "shared_intermediate_size"))
    each = _size(part, "moe_intermediate_size") or dense
    shared = _size(part, "shared_expert_intermediate_size", "shared_intermediate_size")
    # Each chosen expert also reads a copy of the token.
    return chosen * (each + found.get("embedding_length", 0) // 3) + (shared or _size(part, "n_shared_experts") * each)


# ---- recurrence -----------------------------------------------------------------------------------------------------


def _inner(part: Config, hidden: int) -> int:
    """Width of a state-space layer."""
    heads = _scan_heads(part)
    if heads and (width := _size(part, "mamba_d_head", "mamba_head_dim", "head_dim")):
        return heads * width
    if heads := _size(part, "linear_num_value_heads"):
        return heads * _size(part, "linear_value_head_dim")
    given = _size(part, "d_inner", "intermediate_size") if _family(part) in _ALL_RECURRENT else 0
    return given or hidden * (_size(part, "mamba_expand", "expand") or 2)


def _scan_heads(part: Config) -> int:
    given = _size(part, "mamba_n_heads", "mamba_num_heads")
    return given or (_size(part, "num_heads") if _family(part) in _ALL_RECURRENT else 0)


def _delta_state(part: Config) -> int:
    """Values of the state of one layer with the delta rule: heads x width of a key x width of a value."""
    heads = _size(part, "linear_num_value_heads", "num_attention_heads")
    key_width = _size(part, "linear_key_head_dim", "head_dim") or 128
    return heads * key_width * (_size(part, "linear_value_head_dim", "head_dim") or 128)


def _state(part: Config, hidden: int, is_delta: bool) -> tuple[int, int]:
    """Values of one recurrent layer's state, and of each token whose convolution's input stays held after a step.

    mlx-lm keeps the convolution's last inputs as a view of all of the step's, but for the delta rule as a copy.
    """
    kernel = _size(part, "mamba_d_conv", "conv_kernel", "linear_conv_kernel_dim", "conv_L_cache", "d_conv") or 4
    if is_delta:
        keys = _size(part, "linear_num_key_heads", "num_attention_heads") * (_size(part, "linear_key_head_dim") or 128)
        return _delta_state(part) + kernel * (2 * keys + _inner(part, hidden)), 0
    if _size(part, "conv_L_cache"):
        return kernel * hidden, hidden
    inner = _inner(part, hidden)
    state = _size(part, "mamba_d_state", "ssm_state_size", "state_size", "d_state") or 128
    convolved = inner + 2 * (_size(part, "mamba_n_groups", "n_groups") or 1) * state
    return inner * state + kernel * convolved, convolved
