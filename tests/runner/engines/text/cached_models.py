"""Tiny random models of mlx-lm, one for each kind of cache, and greedy reading with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.models import deepseek_v3, falcon_h1, gemma3_text, llama, llama4, mamba2, qwen3_next
from mlx_lm.models.cache import QuantizedKVCache, make_prompt_cache

VOCABULARY = 97
WINDOW = 48
_SIZES = {"hidden_size": 64, "vocab_size": VOCABULARY, "num_attention_heads": 4, "intermediate_size": 96}


def _llama() -> nn.Module:
    args = llama.ModelArgs(
        model_type="llama", num_hidden_layers=2, num_key_value_heads=2, rms_norm_eps=1e-5, head_dim=32, **_SIZES
    )
    return llama.Model(args)


def _gemma3() -> nn.Module:
    args = gemma3_text.ModelArgs(
        model_type="gemma3_text",
        num_hidden_layers=3,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=WINDOW,
        sliding_window_pattern=3,
        **_SIZES,
    )
    return gemma3_text.Model(args)


def _llama4() -> nn.Module:
    text = {
        "attention_bias": False,
        "attention_chunk_size": WINDOW,
        "head_dim": 16,
        "interleave_moe_layer_step": 2,
        "intermediate_size_mlp": 96,
        "max_position_embeddings": 2048,
        "model_type": "llama4_text",
        "num_experts_per_tok": 1,
        "num_hidden_layers": 4,
        "num_key_value_heads": 2,
        "num_local_experts": 2,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "use_qk_norm": True,
        **_SIZES,
    }
    return llama4.Model(llama4.ModelArgs.from_dict({"model_type": "llama4", "text_config": text}))


def _mamba2() -> nn.Module:
    args = mamba2.ModelArgs(
        model_type="mamba2",
        num_heads=8,
        head_dim=16,
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        state_size=16,
        num_hidden_layers=2,
        layer_norm_epsilon=1e-5,
        conv_kernel=4,
        n_groups=1,
        use_bias=False,
        use_conv_bias=True,
        tie_word_embeddings=True,
        time_step_limit=(0.0, 100.0),
        time_step_rank="auto",
    )
    return mamba2.Model(args)


def _falcon_h1() -> nn.Module:
    args = falcon_h1.ModelArgs(
        num_hidden_layers=2,
        num_key_value_heads=2,
        head_dim=16,
        mamba_d_ssm=64,
        mamba_n_heads=4,
        mamba_d_head=16,
        mamba_d_state=16,
        mamba_chunk_size=32,
        lm_head_multiplier=1.0,
        **_SIZES,
    )
    return falcon_h1.Model(args)


def _qwen3_next() -> nn.Module:
    args = qwen3_next.ModelArgs(
        model_type="qwen3_next",
        num_hidden_layers=2,
        num_key_value_heads=2,
        head_dim=32,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
        linear_conv_kernel_dim=4,
        num_experts=2,
        num_experts_per_tok=1,
        decoder_sparse_step=1,
        shared_expert_intermediate_size=32,
        mlp_only_layers=[],
        moe_intermediate_size=32,
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        partial_rotary_factor=0.25,
        max_position_embeddings=2048,
        norm_topk_prob=True,
        full_attention_interval=2,
        **_SIZES,
    )
    return qwen3_next.Model(args)


def _deepseek_v3() -> nn.Module:
    args = deepseek_v3.ModelArgs(
        num_hidden_layers=2,
        num_key_value_heads=4,
        kv_lora_rank=32,
        q_lora_rank=32,
        qk_rope_head_dim=16,
        v_head_dim=16,
        qk_nope_head_dim=16,
        n_routed_experts=2,
        n_shared_experts=1,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
        **_SIZES,
    )
    return deepseek_v3.Model(args)


def shared_length(first: Sequence[object], second: Sequence[object]) -> int:
    """How many items two sequences have in common at their beginnings."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


@dataclass(frozen=True)
class CachedModel:
    """A model and how the caches of one sequence are made."""

    model: nn.Module
    quantised: bool = False

    def make_caches(self) -> list[Any]:
        caches = make_prompt_cache(self.model)
        return [QuantizedKVCache(group_size=32, bits=8) for _ in caches] if self.quantised else caches

    def read(self, tokens: Sequence[int], caches: list[Any], ends: Sequence[int]) -> mx.array:
        """Read tokens into caches in chunks with the given ends, the last of which is their number; the last logits.

        The caches already hold everything before the first chunk, whose beginning is `ends[0]`.
        """
        logits = mx.zeros((VOCABULARY,))
        for start, end in itertools.pairwise(ends):
            logits = self.model(mx.array([tokens[start:end]]), cache=caches)[0, -1]
            mx.eval(logits, [cache.state for cache in caches])
        return logits

    def greedy(self, logits: mx.array, caches: list[Any], count: int) -> list[int]:
        """The tokens that follow, of which all but the last end up in the caches."""
        chosen = [int(mx.argmax(logits).item())]
        while len(chosen) < count:
            logits = self.model(mx.array([chosen[-1:]]), cache=caches)[0, -1]
            chosen.append(int(mx.argmax(logits).item()))
        return chosen


_MODELS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "llama": (_llama, False),
    "llama in 8 bits": (_llama, True),
    "deepseek_v3": (_deepseek_v3, False),
    "gemma3_text": (_gemma3, False),
    "llama4": (_llama4, False),
    "mamba2": (_mamba2, False),
    "falcon_h1": (_falcon_h1, False),
    "qwen3_next": (_qwen3_next, False),
}
KINDS = tuple(_MODELS)
CUTTABLE = KINDS[:3]


def cached_model(kind: str) -> CachedModel:
    """The same weights each time, spread wide enough that the most probable token stands out."""
    make, quantised = _MODELS[kind]
    mx.random.seed(7)
    model = make()
    model.update(tree_map_with_path(_spread, model.parameters()))
    mx.eval(model.parameters())
    return CachedModel(model, quantised)


def _spread(path: str, weight: mx.array) -> mx.array:
    if weight.ndim < 2 or "conv1d" in path:
        return weight
    return mx.random.normal(weight.shape) * weight.shape[-1] ** -0.5
