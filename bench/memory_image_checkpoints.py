"""Image models with random weights for the memory report, in diffusers' layout: the engine's own classes make them.

They are narrow, but their pictures are large enough for what is computed with to outweigh everything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from memory_checkpoints import write_tokenizer
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3

from paddock.runner.engines.image.flux2 import Flux2Transformer, read_flux2_config
from paddock.runner.engines.image.vae import Autoencoder, Flux2Autoencoder, read_vae_config
from paddock.runner.engines.image.zimage import ZImageTransformer, read_zimage_config

Config = dict[str, Any]

Z_IMAGE, KLEIN = "z-image", "klein"
_TEXT_WIDTH, _CHANNELS, _VOCABULARY = 256, 16, 32_000
_TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}<assistant>"
_FILE = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Pictures:
    """How a runner is asked for pictures: what it is started with, and what is made."""

    width: int
    height: int
    at_once: int = 1
    tile_pixels: int = 1024
    staged: bool = False
    references: int = 0

    @property
    def label(self) -> str:
        """For people."""
        tiles = f", tiles of {self.tile_pixels}" if max(self.width, self.height) > self.tile_pixels else ""
        looks = f", from {self.references}" if self.references else ""
        return f"{self.width} x {self.height}{tiles}{looks}{', staged' if self.staged else ''}"


@dataclass(frozen=True)
class ImageCheckpoint:
    """What to make, and which pictures to ask it for."""

    name: str
    kind: str
    pipeline: str
    heads: int
    width: int
    """Of the autoencoder, where it works at the size of the picture."""
    pictures: tuple[Pictures, ...]
    dtype: str = "float32"


IMAGE_CHECKPOINTS = (
    ImageCheckpoint(
        "z-image",
        "pictures, one stream",
        Z_IMAGE,
        heads=4,
        width=32,
        pictures=(
            Pictures(256, 256),
            Pictures(384, 320),
            Pictures(512, 512),
            Pictures(384, 384, at_once=4),
            Pictures(512, 512, tile_pixels=256),
        ),
    ),
    ImageCheckpoint(
        "z-image-bf16",
        "pictures, bfloat16",
        Z_IMAGE,
        heads=12,
        width=8,
        pictures=(Pictures(384, 384), Pictures(384, 384, at_once=4)),
        dtype="bfloat16",
    ),
    ImageCheckpoint(
        "klein",
        "pictures, two streams",
        KLEIN,
        heads=8,
        width=16,
        pictures=(
            Pictures(256, 256),
            Pictures(384, 320),
            Pictures(512, 512, staged=True),
            Pictures(256, 256, references=2),
        ),
    ),
)


def write_image(checkpoint: ImageCheckpoint, folder: Path) -> Path:
    """Make the folder of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    is_klein = checkpoint.pipeline == KLEIN
    transformer = _klein(checkpoint) if is_klein else _z_image(checkpoint)
    autoencoder = _autoencoder(checkpoint, "AutoencoderKLFlux2" if is_klein else "AutoencoderKL")
    index = {
        "_class_name": "Flux2KleinPipeline" if is_klein else "ZImagePipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", transformer["_class_name"]],
        "vae": ["diffusers", autoencoder["_class_name"]],
        "is_distilled": True,
        "paddock": {"steps": 2},
    }
    _write_json(folder / "model_index.json", index)
    schedule = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "use_dynamic_shifting": is_klein}
    _write_json(folder / "scheduler" / "scheduler_config.json", schedule)
    write_tokenizer(folder / "tokenizer", chat_template=_TEMPLATE, pad_token="!")
    dtype = getattr(mx, checkpoint.dtype)
    made = Flux2Transformer(read_flux2_config(transformer)) if is_klein else None
    _write_part(
        folder / "transformer", transformer, made or ZImageTransformer(read_zimage_config(transformer)), dtype=dtype
    )
    sizes = read_vae_config(autoencoder)
    _write_part(folder / "vae", autoencoder, Flux2Autoencoder(sizes) if is_klein else Autoencoder(sizes), dtype=dtype)
    text = _text_encoder(layers=28 if is_klein else 4)
    _write_part(
        folder / "text_encoder", text, qwen3.Model(qwen3.ModelArgs.from_dict(text)), "model.safetensors", dtype=dtype
    )
    return folder


def _z_image(checkpoint: ImageCheckpoint) -> Config:
    return {
        "_class_name": "ZImageTransformer2DModel",
        "in_channels": _CHANNELS,
        "dim": 128 * checkpoint.heads,
        "n_layers": 2,
        "n_refiner_layers": 1,
        "n_heads": checkpoint.heads,
        "cap_feat_dim": _TEXT_WIDTH,
        "axes_dims": [32, 48, 48],
        "axes_lens": [1024, 256, 256],
    }


def _klein(checkpoint: ImageCheckpoint) -> Config:
    return {
        "_class_name": "Flux2Transformer2DModel",
        "in_channels": 4 * _CHANNELS,
        "num_layers": 1,
        "num_single_layers": 2,
        "attention_head_dim": 128,
        "num_attention_heads": checkpoint.heads,
        "joint_attention_dim": 3 * _TEXT_WIDTH,
        "timestep_guidance_channels": 256,
        "axes_dims_rope": [32, 32, 32, 32],
        "guidance_embeds": False,
    }


def _autoencoder(checkpoint: ImageCheckpoint, class_name: str) -> Config:
    width = checkpoint.width
    return {
        "_class_name": class_name,
        "block_out_channels": [width, 2 * width, 4 * width, 4 * width],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": _CHANNELS,
        "norm_num_groups": 8,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }


def _text_encoder(layers: int) -> Config:
    return {
        "model_type": "qwen3",
        "hidden_size": _TEXT_WIDTH,
        "num_hidden_layers": layers,
        "intermediate_size": 768,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "rms_norm_eps": 1e-6,
        "vocab_size": _VOCABULARY,
        "max_position_embeddings": 4096,
        "rope_theta": 10_000.0,
        "tie_word_embeddings": True,
    }


def _write_json(path: Path, content: Config) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _write_part(folder: Path, config: Config, module: nn.Module, file: str = _FILE, *, dtype: mx.Dtype) -> None:
    _write_json(folder / "config.json", config)
    kernels = {f"{name}.weight" for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)}
    mx.random.seed(7)
    weights = {}
    for name, array in tree_flatten(module.parameters()):
        tensor = mx.random.normal(array.shape) * 0.5 / max(1, array[0].size) ** 0.5
        tensor = mx.abs(tensor) + 0.5 if array.ndim == 1 else tensor
        # PyTorch's order of a kernel: out, in, height, width.
        tensor = tensor.transpose(0, 3, 1, 2) if name in kernels else tensor
        weights[name] = mx.contiguous(tensor.astype(dtype))
    mx.eval(weights)
    mx.save_safetensors(str(folder / file), weights)
