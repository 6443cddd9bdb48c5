"""Tiny random image models in diffusers' layout, made with MLX alone in a fraction of a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3

from paddock.runner.engines.image.flux2 import Flux2Transformer, read_flux2_config
from paddock.runner.engines.image.vae import Autoencoder, Flux2Autoencoder, read_vae_config
from paddock.runner.engines.image.zimage import ZImageTransformer, read_zimage_config
from tests.runner.tiny import END_OF_TEXT, byte_tokenizer, save_tokenizer

CHAT_TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}<assistant>"
CELL = 4
"""Pixels to a side of a latent cell: the autoencoders have three stages."""
_WIDTH = 32
_CHANNELS = 4
_TRANSFORMER_FILE = "diffusion_pytorch_model.safetensors"


def make_tiny_z_image(
    folder: Path, *, sizes: Mapping[str, Any] = MappingProxyType({}), channels: int = _CHANNELS, **defaults: float
) -> Path:
    """A Z-Image-Turbo of a hundred thousand parameters, always the same one; `defaults` are its own. `sizes` are other
    ones of its transformer, `channels` those of its latents."""
    transformer = {
        "_class_name": "ZImageTransformer2DModel",
        "in_channels": channels,
        "dim": 64,
        "n_layers": 1,
        "n_refiner_layers": 1,
        "n_heads": 2,
        "cap_feat_dim": _WIDTH,
        "axes_dims": [8, 12, 12],
        "axes_lens": [256, 64, 64],
        **sizes,
    }
    autoencoder = _autoencoder("AutoencoderKL", channels) | {"scaling_factor": 0.4, "shift_factor": 0.1}
    _write_index(folder, "ZImagePipeline", transformer, autoencoder, paddock=defaults)
    _write_part(folder / "transformer", transformer, ZImageTransformer(read_zimage_config(transformer)))
    _write_part(folder / "vae", autoencoder, Autoencoder(read_vae_config(autoencoder)))
    _write_common(folder, layers=2, text_tokens=256, scheduler={"shift": 3.0})
    return folder


def make_tiny_klein(
    folder: Path,
    *,
    is_distilled: bool = True,
    sizes: Mapping[str, Any] = MappingProxyType({}),
    channels: int = _CHANNELS,
    text_tokens: int = 48,
) -> Path:
    """A FLUX.2 Klein of a few hundred thousand parameters, always the same one; `sizes` and `channels` as above."""
    transformer = {
        "_class_name": "Flux2Transformer2DModel",
        "in_channels": 4 * channels,
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 32,
        "num_attention_heads": 2,
        "joint_attention_dim": 3 * _WIDTH,
        "timestep_guidance_channels": 32,
        "axes_dims_rope": [8, 8, 8, 8],
        "guidance_embeds": False,
        **sizes,
    }
    autoencoder = _autoencoder("AutoencoderKLFlux2", channels)
    _write_index(folder, "Flux2KleinPipeline", transformer, autoencoder, is_distilled=is_distilled)
    _write_part(folder / "transformer", transformer, Flux2Transformer(read_flux2_config(transformer)))
    _write_part(folder / "vae", autoencoder, Flux2Autoencoder(read_vae_config(autoencoder)))
    scheduler = {"shift": 3.0, "use_dynamic_shifting": True}
    _write_common(folder, layers=28, text_tokens=text_tokens, scheduler=scheduler)
    return folder


def edit_config(folder: Path, name: str, **changes: object) -> None:
    """Change keys of a JSON file; None takes a key away."""
    config = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def edit_weights(folder: Path, part: str, change: Mapping[str, mx.array | None]) -> None:
    """Add or replace tensors of a part; None takes one away."""
    [path] = (folder / part).glob("*.safetensors")
    tensors = {**mx.load(str(path)), **change}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    mx.eval(kept)
    mx.save_safetensors(str(path), kept)


def _autoencoder(class_name: str, channels: int) -> dict[str, Any]:
    return {
        "_class_name": class_name,
        "block_out_channels": [8, 16, 16],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "layers_per_block": 1,
        "latent_channels": channels,
        "norm_num_groups": 4,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }


def _write_index(folder: Path, pipeline: str, transformer: dict, autoencoder: dict, **more: object) -> None:
    index = {
        "_class_name": pipeline,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", transformer["_class_name"]],
        "vae": ["diffusers", autoencoder["_class_name"]],
        **more,
    }
    (folder / "model_index.json").write_text(json.dumps(index))


def _write_common(folder: Path, *, layers: int, text_tokens: int, scheduler: dict[str, Any]) -> None:
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", **scheduler})
    )
    (folder / "tokenizer").mkdir()
    save_tokenizer(folder / "tokenizer", byte_tokenizer(), pad_token=END_OF_TEXT, chat_template=CHAT_TEMPLATE)
    config = {
        "model_type": "qwen3",
        "hidden_size": _WIDTH,
        "num_hidden_layers": layers,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "vocab_size": 258,
        "max_position_embeddings": text_tokens,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    _write_part(folder / "text_encoder", config, model, file="model.safetensors")


def _write_part(folder: Path, config: dict[str, Any], module: nn.Module, file: str = _TRANSFORMER_FILE) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    kernels = {f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)}
    mx.random.seed(7)
    weights = {}
    for name, array in tree_flatten(module.parameters()):
        tensor = mx.random.normal(array.shape) * 0.5 / max(1, array[0].size) ** 0.5
        is_norm = "norm" in name and name.endswith(".weight") and array.ndim == 1
        tensor = tensor + 1.0 if is_norm else tensor
        tensor = mx.abs(tensor) + 0.5 if name.endswith("running_var") else tensor
        # PyTorch's order of a kernel: out, in, height, width.
        weights[name] = tensor.transpose(0, 3, 1, 2) if name in kernels else tensor
    mx.save_safetensors(str(folder / file), {name: mx.contiguous(tensor) for name, tensor in weights.items()})
