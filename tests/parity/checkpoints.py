"""Tiny random checkpoints made with transformers' own classes and saved in its own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

from tests.parity.architectures import ARCHITECTURES, DECODER, VOCABULARY, Architecture
from tests.runner.tiny import byte_tokenizer, save_tokenizer

__all__ = ["ARCHITECTURES", "VOCABULARY", "Architecture", "make_checkpoint"]

_MXFP4 = {"group_size": 32, "bits": 4, "mode": "mxfp4"}


def make_checkpoint(folder: Path, architecture: Architecture) -> Any:
    """Save a random model and a byte-level tokenizer; returns transformers' model."""
    transformers.utils.logging.disable_progress_bar()
    sizes = DECODER if architecture.is_decoder else {}
    known = {"vocab_size": VOCABULARY, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = transformers.AutoConfig.for_model(architecture.model_type, **{**known, **sizes, **architecture.config})
    torch.manual_seed(11)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    _spread(model, architecture.embedding)
    packed = _pack_experts(model) if architecture.packs_experts else {}
    model.save_pretrained(folder)
    save_tokenizer(folder, byte_tokenizer())
    if packed:
        _replace(folder, packed)
    if architecture.within:
        _wrap(folder, architecture.within)
    return model


def _spread(model: Any, embedding: float = 1.0) -> None:
    """Make every parameter matter: fresh ones have norms of exactly one, zero biases and tiny matrices."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.1 * noise)
            elif "conv1d" not in name:
                scale = embedding if "embed" in name else 1.0
                parameter.copy_(noise * scale * parameter.shape[-1] ** -0.5)


def _pack_experts(model: Any) -> dict[str, dict[str, np.ndarray]]:
    """Round the experts to MXFP4; for each of their tensors, those that are published in its place."""
    packed = {}
    for name, parameter in model.named_parameters():
        if not name.endswith(("gate_up_proj", "down_proj")):
            continue
        rows = mx.array(parameter.detach().transpose(1, 2).contiguous().numpy())
        numbers, scales = mx.quantize(rows, **_MXFP4)
        rounded = np.array(mx.dequantize(numbers, scales, **_MXFP4).astype(mx.float32))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(rounded).transpose(1, 2))
        blocks = np.array(numbers).view(np.uint8).reshape(*scales.shape, 16)
        packed[name] = {f"{name}_blocks": blocks, f"{name}_scales": np.array(scales)}
    return packed


def _replace(folder: Path, packed: dict[str, dict[str, np.ndarray]]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for name, replacements in packed.items():
        del tensors[name]
        tensors |= replacements
    save_file(tensors, path, metadata={"format": "pt"})
    _change_config(folder, lambda config: {**config, "quantization_config": {"quant_method": "mxfp4"}})


def _wrap(folder: Path, model_type: str) -> None:
    """Make a language model the part of a larger one that it is published as."""
    path = folder / "model.safetensors"
    tensors = {f"language_model.{name}": tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    _change_config(folder, lambda config: {"model_type": model_type, "text_config": config})


def _change_config(folder: Path, change: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
