"""The transformer of FLUX.2 Klein: blocks with a stream each for text and picture, then blocks of one stream.

Layers carry the names of the checkpoint's own tensors. Numbers are those of diffusers' Flux2Transformer2DModel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from paddock.errors import DamagedModel, UnsupportedModel
from paddock.runner.engines.image.layers import (
    Positions,
    Rotation,
    Work,
    attend,
    embed_time,
    float_type,
    make_rotation,
    rotate,
    settle,
    split_heads,
)

_REFERENCE_DISTANCE = 10
"""Between pictures on the first axis of positions."""


@dataclass(frozen=True)
class Flux2Config:
    """What transformer/config.json says. Names and defaults are diffusers'."""

    in_channels: int = 128
    num_layers: int = 8
    num_single_layers: int = 48
    attention_head_dim: int = 128
    num_attention_heads: int = 48
    joint_attention_dim: int = 15360
    timestep_guidance_channels: int = 256
    mlp_ratio: float = 3.0
    axes_dims_rope: tuple[int, ...] = (32, 32, 32, 32)
    rope_theta: float = 2000.0
    eps: float = 1e-6

    @property
    def dim(self) -> int:
        return self.num_attention_heads * self.attention_head_dim

    @property
    def feed_forward(self) -> int:
        return int(self.dim * self.mlp_ratio)


def read_flux2_config(config: Mapping[str, Any]) -> Flux2Config:
    """The sizes in transformer/config.json. UnsupportedModel for a variant that is not done here."""
    if config.get("guidance_embeds", True):
        raise UnsupportedModel("FLUX.2 models with embedded guidance are not supported: only FLUX.2 Klein is.")
    if config.get("patch_size", 1) != 1:
        raise UnsupportedModel("A FLUX.2 model with patches in its transformer is not supported by this version.")
    known = {name: config[name] for name in Flux2Config.__dataclass_fields__ if name in config}
    known |= {name: tuple(known[name]) for name in ("axes_dims_rope",) if name in known}
    sizes = Flux2Config(**known)
    out_channels = config.get("out_channels")
    if sum(sizes.axes_dims_rope) != sizes.attention_head_dim or len(sizes.axes_dims_rope) != 4:
        raise DamagedModel("The sizes in transformer/config.json contradict each other: create the model again.")
    if out_channels is not None and out_channels != sizes.in_channels:
        raise UnsupportedModel("A FLUX.2 model whose output is not as wide as its input is not supported.")
    return sizes


def _plain_norm(config: Flux2Config) -> nn.LayerNorm:
    return nn.LayerNorm(config.dim, eps=config.eps, affine=False)


def _gated(doubled: mx.array) -> mx.array:
    gate, value = mx.split(doubled, 2, axis=-1)
    return nn.silu(gate) * value


class _FeedForward(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.linear_in = nn.Linear(config.dim, 2 * config.feed_forward, bias=False)
        self.linear_out = nn.Linear(config.feed_forward, config.dim, bias=False)

    def __call__(self, tokens: mx.array) -> mx.array:
        mixed: mx.array = self.linear_out(_gated(self.linear_in(tokens)))
        return mixed


class _JointAttention(nn.Module):
    """Text and picture look at each other, each with projections of its own."""

    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        width, head_width = config.dim, config.attention_head_dim
        self._head_width = head_width
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.norm_q, self.norm_k, self.norm_added_q, self.norm_added_k = (
            nn.RMSNorm(head_width, eps=config.eps) for _ in range(4)
        )
        self.to_out = [nn.Linear(width, width, bias=False)]
        self.to_add_out = nn.Linear(width, width, bias=False)

    def __call__(self, picture: mx.array, text: mx.array, rotation: Rotation) -> tuple[mx.array, mx.array]:
        def heads(tokens: mx.array, layer: nn.Module) -> mx.array:
            return split_heads(layer(tokens), self._head_width)

        text_queries = self.norm_added_q(heads(text, self.add_q_proj))
        text_keys = self.norm_added_k(heads(text, self.add_k_proj))
        queries = mx.concatenate([text_queries, self.norm_q(heads(picture, self.to_q))], axis=1)
        keys = mx.concatenate([text_keys, self.norm_k(heads(picture, self.to_k))], axis=1)
        values = mx.concatenate([heads(text, self.add_v_proj), heads(picture, self.to_v)], axis=1)
        mixed = attend(rotate(queries, rotation), rotate(keys, rotation), values)
        length = text.shape[1]
        return self.to_out[0](mixed[:, length:]), self.to_add_out(mixed[:, :length])


Modulation = Sequence[mx.array]
"""Shift, scale and gate, each [batch, 1, dim]; twice where there are two steps to modulate."""


class _DoubleBlock(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.norm1, self.norm1_context, self.norm2, self.norm2_context = (_plain_norm(config) for _ in range(4))
        self.attn = _JointAttention(config)
        self.ff = _FeedForward(config)
        self.ff_context = _FeedForward(config)

    def __call__(
        self, picture: mx.array, text: mx.array, of_picture: Modulation, of_text: Modulation, rotation: Rotation
    ) -> tuple[mx.array, mx.array]:
        shift, scale, gate, late_shift, late_scale, late_gate = of_picture
        text_shift, text_scale, text_gate, late_text_shift, late_text_scale, late_text_gate = of_text
        mixed, mixed_text = self.attn(
            self.norm1(picture) * (1.0 + scale) + shift,
            self.norm1_context(text) * (1.0 + text_scale) + text_shift,
            rotation,
        )
        picture = settle(picture + gate * mixed)
        text = settle(text + text_gate * mixed_text)
        picture = settle(picture + late_gate * self.ff(self.norm2(picture) * (1.0 + late_scale) + late_shift))
        late_text = self.norm2_context(text) * (1.0 + late_text_scale) + late_text_shift
        return picture, settle(text + late_text_gate * self.ff_context(late_text))


class _FusedAttention(nn.Module):
    """Attention and feed-forward beside each other, with common projections in and out
    (https://arxiv.org/abs/2302.05442)."""

    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self._head_width = config.attention_head_dim
        self._width = config.dim
        self.to_qkv_mlp_proj = nn.Linear(config.dim, 3 * config.dim + 2 * config.feed_forward, bias=False)
        self.norm_q = nn.RMSNorm(self._head_width, eps=config.eps)
        self.norm_k = nn.RMSNorm(self._head_width, eps=config.eps)
        self.to_out = nn.Linear(config.dim + config.feed_forward, config.dim, bias=False)

    def __call__(self, tokens: mx.array, rotation: Rotation) -> mx.array:
        width = self._width
        projected = mx.split(self.to_qkv_mlp_proj(tokens), [width, 2 * width, 3 * width], axis=-1)
        queries, keys, values = (split_heads(part, self._head_width) for part in projected[:3])
        mixed = settle(attend(rotate(self.norm_q(queries), rotation), rotate(self.norm_k(keys), rotation), values))
        result: mx.array = self.to_out(mx.concatenate([mixed, _gated(projected[3])], axis=-1))
        return result


class _SingleBlock(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.norm = _plain_norm(config)
        self.attn = _FusedAttention(config)

    def __call__(self, tokens: mx.array, modulation: Modulation, rotation: Rotation) -> mx.array:
        shift, scale, gate = modulation
        return tokens + gate * self.attn(self.norm(tokens) * (1.0 + scale) + shift, rotation)


class _TimeEmbedder(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(config.timestep_guidance_channels, config.dim, bias=False)
        self.linear_2 = nn.Linear(config.dim, config.dim, bias=False)

    def __call__(self, embedded: mx.array) -> mx.array:
        result: mx.array = self.linear_2(nn.silu(self.linear_1(embedded.astype(float_type(self.linear_1)))))
        return result


class _TimeGuidanceEmbedder(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.timestep_embedder = _TimeEmbedder(config)


class _Modulator(nn.Module):
    """The modulation of all blocks of one kind."""

    def __init__(self, config: Flux2Config, parts: int) -> None:
        super().__init__()
        self._parts = parts
        self.linear = nn.Linear(config.dim, parts * config.dim, bias=False)

    def __call__(self, time: mx.array) -> Modulation:
        parts: Any = mx.split(self.linear(nn.silu(time))[:, None, :], self._parts, axis=-1)
        return tuple(parts)


class _FinalNorm(nn.Module):
    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self.norm = _plain_norm(config)
        self.linear = nn.Linear(config.dim, 2 * config.dim, bias=False)

    def __call__(self, tokens: mx.array, time: mx.array) -> mx.array:
        scale, shift = mx.split(self.linear(nn.silu(time))[:, None, :], 2, axis=-1)
        return self.norm(tokens) * (1.0 + scale) + shift


class Flux2Transformer(nn.Module):
    """Predicts the velocity of latents from a text and, to edit, from reference pictures."""

    def __init__(self, config: Flux2Config) -> None:
        super().__init__()
        self._config = config
        self.time_guidance_embed = _TimeGuidanceEmbedder(config)
        self.double_stream_modulation_img = _Modulator(config, 6)
        self.double_stream_modulation_txt = _Modulator(config, 6)
        self.single_stream_modulation = _Modulator(config, 3)
        self.x_embedder = nn.Linear(config.in_channels, config.dim, bias=False)
        self.context_embedder = nn.Linear(config.joint_attention_dim, config.dim, bias=False)
        self.transformer_blocks = [_DoubleBlock(config) for _ in range(config.num_layers)]
        self.single_transformer_blocks = [_SingleBlock(config) for _ in range(config.num_single_layers)]
        self.norm_out = _FinalNorm(config)
        self.proj_out = nn.Linear(config.dim, config.in_channels, bias=False)

    def read_text(self, features: mx.array) -> mx.array:
        """A text's features ([length, joint_attention_dim]) as tokens [1, length, dim]; the same at every step."""
        tokens: mx.array = self.context_embedder(features.astype(float_type(self.context_embedder)))[None]
        return tokens

    def rotation(self, positions: Positions) -> Rotation:
        """Of text and pictures together: rows of (picture, row, column, place in the text)."""
        return make_rotation(positions, self._config.axes_dims_rope, self._config.rope_theta)

    def __call__(self, tokens: mx.array, time: float, text: mx.array, rotation: Rotation) -> Work:
        """Velocity of the tokens, [batch, count, in_channels] as they are, float32. It stops after each block.

        `time` is sigma in thousandths.
        """
        batch = tokens.shape[0]
        channels = self._config.timestep_guidance_channels
        times = mx.full((batch,), time, dtype=mx.float32)
        embedded = self.time_guidance_embed.timestep_embedder(embed_time(times, channels))
        of_picture = self.double_stream_modulation_img(embedded)
        of_text = self.double_stream_modulation_txt(embedded)
        of_both = self.single_stream_modulation(embedded)
        picture = self.x_embedder(tokens.astype(float_type(self.x_embedder)))
        text = mx.broadcast_to(text, (batch, *text.shape[1:]))
        for block in self.transformer_blocks:
            picture, text = block(picture, text, of_picture, of_text, rotation)
            yield
        length = text.shape[1]
        both = mx.concatenate([text, picture], axis=1)
        for block in self.single_transformer_blocks:
            both = settle(block(both, of_both, rotation))
            yield
        return self.proj_out(self.norm_out(both[:, length:], embedded)).astype(mx.float32)


def text_positions(length: int) -> Positions:
    """A text lies on the last axis."""
    positions = np.zeros((length, 4), dtype=np.int64)
    positions[:, 3] = np.arange(length)
    return positions


def picture_positions(rows: int, columns: int, reference: int | None = None) -> Positions:
    """Row and column of each token, row by row. The picture that is made is at 0 on the first axis, the k-th reference
    (from 0 on) at 10 (k + 1)."""
    positions = np.zeros((rows * columns, 4), dtype=np.int64)
    positions[:, 0] = 0 if reference is None else _REFERENCE_DISTANCE * (reference + 1)
    positions[:, 1] = np.repeat(np.arange(rows), columns)
    positions[:, 2] = np.tile(np.arange(columns), rows)
    return positions
