"""Checkpoints of real architectures with random weights, for the memory report: mlx-lm's own classes make them.

Narrow enough to run through quickly on two processors, wide enough in what they hold: most of their bytes lie in the
vocabulary, and their caches are as large as their kind allows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm import utils
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

Config = dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What to make, and how far to fill its context."""

    name: str
    kind: str
    config: Config
    contexts: tuple[int, ...] = (512, 2048, 4096)
    dtype: str = "float32"
    quantization: Mapping[str, Any] = field(default_factory=dict)
    keep_packed: bool = False
    """Whether quantised weights are computed with as they are stored."""
    kv_bits: int = 0


_COMMON: Config = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "vocab_size": 32_000,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "max_position_embeddings": 32_768,
    "tie_word_embeddings": True,
}
_EXPERTS: Config = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}
_GRANITE: Config = {
    "model_type": "granitemoehybrid",
    "layer_types": ["mamba", "mamba", "attention", "mamba"],
    "shared_intermediate_size": 1024,
    "attention_bias": False,
    "embedding_multiplier": 1.0,
    "attention_multiplier": 0.125,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
    "mamba_n_heads": 16,
    "mamba_d_head": 64,
    "mamba_d_state": 64,
    "mamba_d_conv": 4,
    "mamba_n_groups": 1,
    "mamba_conv_bias": True,
    "mamba_proj_bias": False,
    "position_embedding_type": "nope",
}
_LINEAR: Config = {
    "model_type": "qwen3_next",
    "linear_num_value_heads": 8,
    "linear_num_key_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "shared_expert_intermediate_size": 512,
    "partial_rotary_factor": 0.25,
    "full_attention_interval": 4,
}
_MAMBA: Config = {
    "model_type": "mamba2",
    "num_heads": 16,
    "head_dim": 64,
    "vocab_size": 32_000,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "state_size": 64,
    "num_hidden_layers": 4,
    "layer_norm_epsilon": 1e-5,
    "conv_kernel": 4,
    "n_groups": 1,
    "use_bias": False,
    "use_conv_bias": True,
    "tie_word_embeddings": True,
    "time_step_limit": [0.0, 100.0],
    "time_step_rank": "auto",
    "max_position_embeddings": 32_768,
}
_GEMMA: Config = {
    "model_type": "gemma3_text",
    "num_hidden_layers": 6,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "query_pre_attn_scalar": 64,
    "rope_local_base_freq": 10_000.0,
}
_LATENT: Config = {
    "model_type": "minicpm3",
    "dim_model_base": 256,
    "q_lora_rank": 192,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "kv_lora_rank": 128,
    "scale_depth": 1.4,
    "scale_emb": 12,
    "rope_scaling": {
        "type": "longrope",
        "original_max_position_embeddings": 32_768,
        "short_factor": [1.0] * 16,
        "long_factor": [1.0] * 16,
    },
}

_INT4 = {"group_size": 64, "bits": 4}

CHECKPOINTS = (
    Checkpoint("llama-tiny", "dense", _COMMON | {"model_type": "llama", "hidden_size": 256, "vocab_size": 8192}),
    Checkpoint("llama", "dense", _COMMON | {"model_type": "llama", "vocab_size": 128_000, "num_key_value_heads": 8}),
    Checkpoint("llama-f16", "dense, float16", _COMMON | {"model_type": "llama", "vocab_size": 96_000}, dtype="float16"),
    Checkpoint("qwen3", "dense, bfloat16", _COMMON | {"model_type": "qwen3"}, dtype="bfloat16"),
    Checkpoint("qwen3-kv8", "context in 8 bits", _COMMON | {"model_type": "qwen3"}, (256, 512, 1024), kv_bits=8),
    Checkpoint(
        "qwen3-int4",
        "4 bit, in float32",
        _COMMON | {"model_type": "qwen3", "vocab_size": 96_000},
        dtype="bfloat16",
        quantization=_INT4,
    ),
    Checkpoint(
        "qwen3-int4-packed",
        "4 bit, as stored",
        _COMMON | {"model_type": "qwen3", "hidden_size": 256, "intermediate_size": 512, "vocab_size": 256_000},
        contexts=(256, 512, 1024),
        dtype="bfloat16",
        quantization=_INT4,
        keep_packed=True,
    ),
    Checkpoint(
        "qwen3-moe-int4",
        "experts, 4 bit, in float32",
        _COMMON | _EXPERTS | {"model_type": "qwen3_moe"},
        (256, 512, 1024),
        dtype="bfloat16",
        quantization=_INT4,
    ),
    Checkpoint("qwen3-moe", "mixture of experts", _COMMON | _EXPERTS | {"model_type": "qwen3_moe"}, (256, 512, 1024)),
    Checkpoint("gemma3", "sliding window", _COMMON | _GEMMA),
    Checkpoint("granite-hybrid", "attention and state space", _COMMON | _GRANITE, (256, 512, 1024)),
    Checkpoint("qwen3-next", "attention and delta rule", _COMMON | _EXPERTS | _LINEAR, (256, 512, 1024)),
    Checkpoint("mamba2", "state space", _MAMBA, (256, 512, 1024)),
    Checkpoint("minicpm3", "latent attention", _COMMON | _LATENT, (256, 512, 1536)),
)


def write(checkpoint: Checkpoint, folder: Path) -> Path:
    """Make the folder of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(checkpoint.config)
    model_class, arguments = utils._get_classes(config)
    mx.random.seed(0)
    model = model_class(arguments.from_dict(config))
    model.set_dtype(getattr(mx, checkpoint.dtype))
    if checkpoint.quantization:
        nn.quantize(model, **checkpoint.quantization)
        config["quantization"] = dict(checkpoint.quantization)
    weights = dict(tree_flatten(model.parameters()))
    mx.eval(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path, **settings: str) -> None:
    """A token for each byte: prompts are given as tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    known = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32_768, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(known))
