"""Tiny random checkpoints made with transformers' own classes and saved in its own format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.runner.tiny import byte_tokenizer, save_tokenizer

VOCABULARY = 258


_DECODER: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


@dataclass(frozen=True)
class Architecture:
    """What transformers needs to make one: a model type, and what differs from the sizes that all have."""

    model_type: str
    config: dict[str, Any] = field(default_factory=dict)
    is_decoder: bool = True
    logit_tolerance: float = 2e-3


def _rope(theta: float, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}


_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
_MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 1, "mamba_d_state": 16}
_GRANITE_LAYERS = ["mamba", "attention", "mamba"]

ARCHITECTURES = {
    "llama with llama3 rope": Architecture("llama", {"rope_parameters": _LLAMA3}),
    "llama with yarn rope": Architecture(
        "llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 4.0,
                "original_max_position_embeddings": 128,
            }
        },
    ),
    "qwen2": Architecture("qwen2", _rope(7e4)),
    "qwen3": Architecture("qwen3", {**_rope(7e4), "head_dim": 32}),
    "qwen3_moe": Architecture("qwen3_moe", {**_rope(7e4), **_EXPERTS, "num_experts": 4, "norm_topk_prob": True}),
    "mixtral": Architecture("mixtral", {**_rope(7e4), "num_local_experts": 4, "num_experts_per_tok": 2}),
    "gemma3_text": Architecture(
        "gemma3_text",
        {
            "head_dim": 16,
            "sliding_window": 16,
            "query_pre_attn_scalar": 16,
            "tie_word_embeddings": False,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 50000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 2000.0},
            },
        },
    ),
    "phi3": Architecture("phi3", {**_rope(7e4), "pad_token_id": 0}),
    "olmo2": Architecture("olmo2", _rope(7e4)),
    "smollm3": Architecture("smollm3", {**_rope(7e4), "no_rope_layer_interval": 2, "pad_token_id": 0}),
    "cohere2": Architecture(
        "cohere2",
        {
            **_rope(7e4),
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "logit_scale": 1.0,
        },
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
    "falcon_h1": Architecture("falcon_h1", {**_rope(7e4), **_MAMBA, "head_dim": 16, "mamba_chunk_size": 32}),
    "granitemoehybrid": Architecture(
        "granitemoehybrid",
        {
            **_rope(7e4),
            "layer_types": _GRANITE_LAYERS,
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
    "qwen3_next": Architecture(
        "qwen3_next",
        {
            **_rope(7e4, partial_rotary_factor=0.25),
            **_EXPERTS,
            "num_experts": 4,
            "shared_expert_intermediate_size": 32,
            "head_dim": 32,
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
    ),
    "lfm2": Architecture(
        "lfm2", {**_rope(7e4), "layer_types": ["conv", "full_attention", "conv"], "block_multiple_of": 32}
    ),
    "glm4_moe": Architecture(
        "glm4_moe",
        {
            **_rope(7e4, partial_rotary_factor=0.5),
            **_EXPERTS,
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
    ),
}


def make_checkpoint(folder: Path, architecture: Architecture) -> Any:
    """Save a random model and a byte-level tokenizer; returns transformers' model."""
    sizes = _DECODER if architecture.is_decoder else {}
    known = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(architecture.model_type, **{**known, **sizes, **architecture.config})
    torch.manual_seed(11)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    _spread(model)
    model.save_pretrained(folder)
    save_tokenizer(folder, byte_tokenizer())
    return model


def _spread(model: Any) -> None:
    """Make every parameter matter: fresh ones have norms of exactly one, zero biases and tiny matrices."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.1 * noise)
            elif "conv1d" not in name:
                parameter.copy_(noise * parameter.shape[-1] ** -0.5)
