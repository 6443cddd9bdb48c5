"""The parts of the demo image model: diffusers' and transformers' own classes, in tiny sizes."""

from __future__ import annotations

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model

LATENT_CHANNELS = 8
CELL = 8
"""Pixels to a side of one latent cell."""
PATCH = 2
"""Latent cells to a side of one token."""
TEXT_WIDTH = 96
TEXT_LAYERS = 3
"""The pipeline takes what the last but one gives."""
STEPS = 8


def new_autoencoder() -> AutoencoderKL:
    """Pictures to latents and back."""
    widths = (16, 16, 32, 48)
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        layers_per_block=1,
        norm_num_groups=1,
        latent_channels=LATENT_CHANNELS,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def new_text_encoder(vocabulary: int) -> Qwen3Model:
    """Tokens to features."""
    return Qwen3Model(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=192,
            num_hidden_layers=TEXT_LAYERS,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    )


def new_transformer() -> ZImageTransformer2DModel:
    """Noisy latents and features to the velocity towards the picture."""
    return ZImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        dim=144,
        n_layers=3,
        n_refiner_layers=1,
        n_heads=3,
        n_kv_heads=3,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[16, 16, 16],
        axes_lens=[640, 64, 64],
    )


def new_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Even steps from noise to picture."""
    return FlowMatchEulerDiscreteScheduler(shift=1.0)
