"""The architectures whose numbers are compared with transformers' own, each tiny, and what kind of memory each has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VOCABULARY = 258
WINDOW = 16

DECODER: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
"""Sizes of all but those that are no decoder of the usual form."""


@dataclass(frozen=True)
class Architecture:
    """What transformers needs to make one: a model type, and what differs from the sizes that all have."""

    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    is_decoder: bool = True
    within: str = ""
    """The model type of the larger model that it is a part of, where it is published as one only."""
    embedding: float = 1.0
    """How large embeddings are: below one where a text would else repeat its last token for ever."""
    packs_experts: bool = False
    """Whether its experts are published in MXFP4 only."""


def _rope(**more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 70000.0, **more}}


def _sliding(**more: Any) -> dict[str, Any]:
    return {
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        **more,
    }


_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
_TWO_ROPES = {
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 50000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2000.0},
    }
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_GROUPED = {
    **_EXPERTS,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
}
_COMPRESSED = {
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
}
_MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 16}
_DELTA = {
    "head_dim": 32,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}

FULL = {
    "llama with llama3 rope": Architecture("llama", {"rope_parameters": _LLAMA3}),
    "llama with yarn rope": Architecture("llama", {"rope_parameters": _YARN}),
    "mistral": Architecture("mistral", {**_rope(), "sliding_window": None}),
    "qwen2": Architecture("qwen2", _rope()),
    "qwen3": Architecture("qwen3", {**_rope(), "head_dim": 32}),
    "gemma": Architecture("gemma", {**_rope(), "head_dim": 16}, embedding=0.25),
    "gemma2": Architecture(
        "gemma2", {**_rope(), "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 512}, embedding=0.25
    ),
    "phi3": Architecture("phi3", {**_rope(), "pad_token_id": 0}),
    "olmo2": Architecture("olmo2", _rope()),
    "granite": Architecture(
        "granite",
        {
            **_rope(),
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.7,
            "logits_scaling": 2.0,
            "attention_multiplier": 0.2,
        },
    ),
    "starcoder2": Architecture("starcoder2", {**_rope(), "tie_word_embeddings": False}, embedding=0.25),
    "stablelm": Architecture("stablelm", {**_rope(partial_rotary_factor=0.25), "use_qkv_bias": True}),
    "cohere": Architecture("cohere", {**_rope(), "logit_scale": 1.0}, embedding=0.5),
    "glm": Architecture("glm", {**_rope(partial_rotary_factor=1.0), "head_dim": 16, "pad_token_id": 0}),
    "glm4": Architecture("glm4", {**_rope(partial_rotary_factor=0.5), "head_dim": 16, "pad_token_id": 0}),
    "smollm3": Architecture("smollm3", {**_rope(), "no_rope_layer_interval": 2, "pad_token_id": 0}, embedding=0.5),
    "ernie4_5": Architecture("ernie4_5", {**_rope(), "head_dim": 16}),
    "apertus": Architecture("apertus", {"rope_parameters": _LLAMA3}),
    "helium": Architecture("helium", {**_rope(), "head_dim": 16}),
    "seed_oss": Architecture("seed_oss", {**_rope(), "head_dim": 16}),
    "hunyuan_v1_dense": Architecture("hunyuan_v1_dense", {**_rope(), "head_dim": 16}),
    "nemotron": Architecture("nemotron", {**_rope(partial_rotary_factor=0.5), "head_dim": 16}),
    "gpt_neox": Architecture("gpt_neox", {**_rope(partial_rotary_factor=0.25), "intermediate_size": 256}),
    "phi": Architecture("phi", _rope(partial_rotary_factor=0.5), embedding=0.5),
    "gptj": Architecture(
        "gptj",
        {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512, "rotary_dim": 8, "tie_word_embeddings": False},
        is_decoder=False,
    ),
    "gpt_bigcode": Architecture(
        "gpt_bigcode", {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512, "n_inner": 256}, is_decoder=False
    ),
    "internlm3": Architecture("internlm3", {**_rope(), "head_dim": 16}),
    "ministral3": Architecture(
        "ministral3",
        {
            "rope_parameters": {**_YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
            "head_dim": 16,
        },
    ),
}
"""Each layer keeps keys and values of all that was read.

mlx-lm gives Gemma, StarCoder 2, GPT-NeoX and GPT-BigCode the other form of GELU, which is up to 1.3e-3 off.
"""

SLIDING = {
    "gemma3_text": Architecture(
        "gemma3_text",
        {**_sliding(**_TWO_ROPES), "head_dim": 16, "query_pre_attn_scalar": 16, "tie_word_embeddings": False},
    ),
    "cohere2": Architecture("cohere2", {**_rope(), **_sliding(), "logit_scale": 1.0}),
    "olmo3": Architecture("olmo3", {**_rope(), **_sliding()}),
    "exaone4": Architecture("exaone4", {**_rope(), **_sliding(sliding_window_pattern=3)}),
    "gemma4_text": Architecture(
        "gemma4_text",
        {
            **_sliding(**_TWO_ROPES),
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "head_dim": 16,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 16,
        },
        embedding=0.5,
    ),
    "gpt_oss": Architecture(
        "gpt_oss",
        {**_rope(), **_sliding(), "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
        packs_experts=True,
    ),
    "afmoe": Architecture(
        "afmoe",
        {
            **_rope(),
            **_sliding(),
            **_EXPERTS,
            "num_experts": 4,
            "num_shared_experts": 1,
            "num_dense_layers": 1,
            "head_dim": 16,
            "n_group": 1,
            "topk_group": 1,
        },
    ),
}
"""Some layers keep only a window of it, some both."""

EXPERTS = {
    "mixtral": Architecture("mixtral", {**_rope(), "num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen2_moe": Architecture(
        "qwen2_moe", {**_rope(), **_EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32}
    ),
    "qwen3_moe": Architecture("qwen3_moe", {**_rope(), **_EXPERTS, "num_experts": 4, "norm_topk_prob": True}),
    "olmoe": Architecture("olmoe", {**_rope(), "num_experts": 4, "num_experts_per_tok": 2}),
    "granitemoe": Architecture("granitemoe", {**_rope(), "num_local_experts": 4, "num_experts_per_tok": 2}),
    "phimoe": Architecture(
        "phimoe",
        {**_rope(), "num_local_experts": 4, "num_experts_per_tok": 2, "attention_bias": True, "lm_head_bias": True},
    ),
    "glm4_moe": Architecture(
        "glm4_moe",
        {
            **_rope(partial_rotary_factor=0.5),
            **_GROUPED,
        },
    ),
    "deepseek_v2": Architecture(
        "deepseek_v2",
        {
            "rope_parameters": {**_YARN, "mscale": 0.7, "mscale_all_dim": 0.7},
            **_COMPRESSED,
            **_GROUPED,
            "topk_method": "group_limited_greedy",
        },
    ),
    "deepseek_v3": Architecture(
        "deepseek_v3",
        {
            **_rope(),
            **_COMPRESSED,
            **_GROUPED,
        },
    ),
    "deepseek_v32": Architecture(
        "deepseek_v32",
        {**_rope(), **_COMPRESSED, **_GROUPED, "index_n_heads": 16, "index_head_dim": 32, "index_topk": 48},
    ),
    "glm4_moe_lite": Architecture("glm4_moe_lite", {**_rope(), **_COMPRESSED, **_GROUPED}),
    "dots1": Architecture("dots1", {**_rope(), **_GROUPED}),
}
"""A part of the layer is chosen token by token; DeepSeek's keep keys and values in a compressed form."""

RECURRENT = {
    "mamba": Architecture(
        "mamba",
        {"hidden_size": 64, "num_hidden_layers": 3, "state_size": 16, "expand": 2},
        is_decoder=False,
        embedding=0.5,
    ),
    "mamba2": Architecture(
        "mamba2",
        {
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "num_heads": 8,
            "head_dim": 16,
            "state_size": 16,
            "n_groups": 1,
            "expand": 2,
            "chunk_size": 32,
        },
        is_decoder=False,
    ),
    "falcon_h1": Architecture("falcon_h1", {**_rope(), **_MAMBA, "head_dim": 16, "mamba_chunk_size": 32}),
    "granitemoehybrid": Architecture(
        "granitemoehybrid",
        {
            **_rope(),
            "layer_types": ["mamba", "attention", "mamba"],
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "shared_intermediate_size": 64,
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "mamba_n_groups": 1,
            "mamba_d_state": 16,
            "mamba_expand": 2,
            "mamba_chunk_size": 32,
            "position_embedding_type": "rope",
        },
    ),
    "jamba": Architecture(
        "jamba",
        {
            "num_experts": 1,
            "num_experts_per_tok": 1,
            "attn_layer_period": 3,
            "attn_layer_offset": 1,
            "pad_token_id": 0,
        },
    ),
    "nemotron_h": Architecture(
        "nemotron_h",
        {
            "num_hidden_layers": 4,
            "hybrid_override_pattern": "M*M-",
            "head_dim": 16,
            "mamba_num_heads": 8,
            "mamba_head_dim": 16,
            "ssm_state_size": 16,
            "n_groups": 2,
            "chunk_size": 32,
            "pad_token_id": 0,
        },
    ),
    "qwen3_next": Architecture(
        "qwen3_next",
        {
            **_rope(partial_rotary_factor=0.25),
            **_EXPERTS,
            **_DELTA,
            "num_experts": 4,
            "shared_expert_intermediate_size": 32,
        },
    ),
    "qwen3_5_text": Architecture(
        "qwen3_5_text",
        {
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 7e4,
                "partial_rotary_factor": 0.25,
                "mrope_section": [2, 1, 1],
                "mrope_interleaved": True,
            },
            **_DELTA,
        },
        within="qwen3_5",
    ),
    "lfm2": Architecture(
        "lfm2", {**_rope(), "layer_types": ["conv", "full_attention", "conv"], "block_multiple_of": 32}
    ),
    "lfm2_moe": Architecture(
        "lfm2_moe",
        {
            **_rope(),
            **_EXPERTS,
            "num_experts": 4,
            "num_dense_layers": 1,
            "layer_types": ["conv", "full_attention", "conv"],
        },
    ),
    "recurrent_gemma": Architecture(
        "recurrent_gemma",
        {
            **_rope(partial_rotary_factor=0.5, rope_theta=10000.0),
            "block_types": ["recurrent", "recurrent", "attention"],
            "lru_width": 64,
            "attention_window_size": 512,
            "num_key_value_heads": 1,
        },
        embedding=0.15,
    ),
}
"""Some layers keep a state that sums up all that was read."""

CHUNKED = {
    "llama4_text": Architecture(
        "llama4_text",
        {
            **_rope(),
            "num_hidden_layers": 4,
            "head_dim": 16,
            "intermediate_size_mlp": 128,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 32,
        },
        within="llama4",
    ),
}
"""Some layers begin anew every so many tokens."""

KINDS = {"full": FULL, "sliding": SLIDING, "experts": EXPERTS, "recurrent": RECURRENT, "chunked": CHUNKED}
ARCHITECTURES = {name: each for kind in KINDS.values() for name, each in kind.items()}

WRONG = {
    "ernie4_5_moe": Architecture(
        "ernie4_5_moe", {**_rope(), "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32}
    ),
    "recurrent_gemma with other frequencies": Architecture(
        "recurrent_gemma", {**RECURRENT["recurrent_gemma"].config, **_rope(partial_rotary_factor=0.5)}
    ),
    "glm with partly rotated heads": Architecture("glm", {**FULL["glm"].config, **_rope(partial_rotary_factor=0.5)}),
    "jamba with experts": Architecture(
        "jamba", {**RECURRENT["jamba"].config, "num_experts": 4, "num_experts_per_tok": 2}
    ),
    "falcon_h1 with norms in groups": Architecture(
        "falcon_h1", {**RECURRENT["falcon_h1"].config, "mamba_n_groups": 2, "mamba_rms_norm": True}
    ),
    "granitemoehybrid with groups": Architecture(
        "granitemoehybrid", {**RECURRENT["granitemoehybrid"].config, "mamba_n_groups": 2}
    ),
    "mamba2 with groups": Architecture("mamba2", {**RECURRENT["mamba2"].config, "n_groups": 2}, is_decoder=False),
}
"""What mlx-lm computes wrongly, and Paddock therefore refuses to load."""
