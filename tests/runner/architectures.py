"""Tiny random models of mlx-lm's classes, one for each way in which it keeps what was read."""

from __future__ import annotations

import importlib
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

VOCABULARY = 97

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "full": {"model_type": "llama"},
    "sliding": {
        "model_type": "llama",
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "partly rotated": {
        "model_type": "stablelm",
        "partial_rotary_factor": 0.5,
        "layer_norm_eps": 1e-5,
        "use_qkv_bias": False,
    },
    "recurrent": {
        "model_type": "mamba2",
        "num_heads": 4,
        "head_dim": 16,
        "state_size": 8,
        "conv_kernel": 4,
        "n_groups": 1,
        "expand": 2,
        "layer_norm_epsilon": 1e-5,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_limit": (0.0, 100.0),
        "time_step_rank": "auto",
    },
    "hybrid": {
        "model_type": "qwen3_next",
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_conv_kernel_dim": 4,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 32,
        "mlp_only_layers": [],
        "partial_rotary_factor": 0.5,
        "head_dim": 16,
        "full_attention_interval": 2,
        **_EXPERTS,
    },
    "compressed": {
        "model_type": "deepseek_v3",
        "n_routed_experts": None,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        "qk_nope_head_dim": 16,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 3,
    },
    "both in one layer": {
        "model_type": "falcon_h1",
        "head_dim": 8,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_chunk_size": 16,
        "lm_head_multiplier": 1.0,
        "ssm_out_multiplier": 1.0,
    },
    "chunked": {
        "model_type": "llama4",
        "text_config": {
            **_COMMON,
            "model_type": "llama4_text",
            "attention_bias": False,
            "attention_chunk_size": 16,
            "head_dim": 8,
            "interleave_moe_layer_step": 100,
            "intermediate_size_mlp": 64,
            "num_experts_per_tok": 1,
            "num_local_experts": 2,
            "num_hidden_layers": 4,
            "use_qk_norm": True,
            "rope_scaling": None,
        },
    },
    "one position for all": {
        "model_type": "gemma2",
        "head_dim": 8,
        "num_key_value_heads": 2,
        "query_pre_attn_scalar": 8,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
}
TOGETHER = ("full", "sliding", "partly rotated", "recurrent", "hybrid", "compressed", "both in one layer")
"""Those whose sequences can be decoded in one forward pass; mlx-lm's code for the others knows one position only."""


def make_model(name: str, **changes: Any) -> nn.Module:
    """Always the same one, in single precision."""
    config = {**_COMMON, **ARCHITECTURES[name], **changes}
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    mx.random.seed(3)
    model = module.Model(module.ModelArgs.from_dict(config))
    weights = [(key, _spread(key, value)) for key, value in tree_flatten(model.parameters())]
    model.update(tree_unflatten(weights))
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    return model.eval()


def _spread(name: str, value: mx.array) -> mx.array:
    """Make every parameter matter, and logits differ enough that rounding does not decide which is the largest."""
    noise = mx.random.normal(value.shape)
    if value.ndim == 1:
        return value + 0.1 * noise
    return noise * (value.shape[-1] ** -0.5) * (3.0 if "lm_head" in name else 1.0)
