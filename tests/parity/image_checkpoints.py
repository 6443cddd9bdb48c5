"""Tiny random image models made with diffusers' own classes and saved in its own layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)

from tests.runner.tiny import END_OF_TEXT, byte_tokenizer

TEXT_WIDTH = 64
LATENT_CHANNELS = 4
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
_STAGES = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 32, 32, 32],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": LATENT_CHANNELS,
}


def make_z_image(folder: Path, *, scheduler: dict[str, Any] | None = None) -> Any:
    """A Z-Image of half a million parameters; the pipeline itself, float32."""
    torch.manual_seed(11)
    pipeline = ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**(scheduler or {"shift": 3.0})),
        vae=_perturbed(
            AutoencoderKL(
                **_STAGES,
                scaling_factor=0.3611,
                shift_factor=0.1159,
                use_quant_conv=False,
                use_post_quant_conv=False,
            )
        ),
        text_encoder=_text_encoder(layers=4),
        tokenizer=_tokenizer(),
        transformer=_perturbed(
            ZImageTransformer2DModel(
                in_channels=LATENT_CHANNELS,
                dim=96,
                n_layers=2,
                n_refiner_layers=1,
                n_heads=3,
                n_kv_heads=3,
                cap_feat_dim=TEXT_WIDTH,
                axes_dims=[8, 12, 12],
                axes_lens=[640, 64, 64],
            )
        ),
    )
    return _saved(pipeline, folder)


def make_klein(folder: Path, *, is_distilled: bool = True) -> Any:
    """A FLUX.2 Klein of about a million parameters; the pipeline itself, float32."""
    torch.manual_seed(12)
    vae = AutoencoderKLFlux2(**_STAGES, decoder_block_out_channels=[8, 16, 32, 32])
    vae.bn.running_mean.normal_(std=0.3)
    vae.bn.running_var.uniform_(0.5, 2.0)
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_perturbed(vae),
        text_encoder=_text_encoder(layers=28),
        tokenizer=_tokenizer(),
        transformer=_perturbed(
            Flux2Transformer2DModel(
                in_channels=4 * LATENT_CHANNELS,
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=32,
                num_attention_heads=3,
                joint_attention_dim=3 * TEXT_WIDTH,
                timestep_guidance_channels=64,
                axes_dims_rope=(8, 8, 8, 8),
                guidance_embeds=False,
            )
        ),
        is_distilled=is_distilled,
    )
    return _saved(pipeline, folder)


def _saved(pipeline: Any, folder: Path) -> Any:
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _tokenizer() -> Any:
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=byte_tokenizer(), pad_token=END_OF_TEXT, chat_template=CHAT_TEMPLATE, padding_side="right"
    )


def _text_encoder(layers: int) -> Any:
    config = transformers.Qwen3Config(
        vocab_size=258,
        hidden_size=TEXT_WIDTH,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
    )
    model = transformers.Qwen3ForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(20.0)
    return _perturbed(model)


def _perturbed(model: Any) -> Any:
    """Away from zeros and ones, so that no tensor could be left out unnoticed."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def pack_folder(source: Path, folder: Path, *, bits: int, group_size: int = 32) -> Path:
    """A copy whose transformer and text encoder are quantised as MLX does it."""
    shutil.copytree(source, folder)
    for part in ("transformer", "text_encoder"):
        [path] = (folder / part).glob("*.safetensors")
        packed: dict[str, mx.array] = {}
        for name, tensor in mx.load(str(path)).items():
            if name.endswith(".weight") and tensor.ndim == 2 and tensor.shape[-1] % group_size == 0:
                layer = name.removesuffix(".weight")
                names = (name, f"{layer}.scales", f"{layer}.biases")
                packed |= zip(names, mx.quantize(tensor, group_size, bits), strict=True)
            else:
                packed[name] = tensor
        mx.eval(packed)
        mx.save_safetensors(str(path), packed)
        config = json.loads((folder / part / "config.json").read_text())
        config["quantization"] = {"bits": bits, "group_size": group_size}
        (folder / part / "config.json").write_text(json.dumps(config))
    return folder
