"""The transformer of Z-Image: one stream of picture and caption tokens (https://arxiv.org/abs/2511.22699).

Layers carry the names of the checkpoint's own tensors. Numbers are those of diffusers' ZImageTransformer2DModel.
"""

from __future__ import annotations

from collections.abc import Mapping
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

PATCH = 2
"""Latent cells to a side of one token."""
_KEY = "2-1"
_TOKENS_MULTIPLE = 32
"""Both sequences are filled up to a multiple of this with a learned token."""
_TIME_WIDTH = 256
_TIME_HIDDEN = 1024
_QK_EPSILON = 1e-5
_FINAL_EPSILON = 1e-6


@dataclass(frozen=True)
class ZImageConfig:
    """What transformer/config.json says. Names and defaults are diffusers'."""

    in_channels: int = 16
    dim: int = 3840
    n_layers: int = 30
    n_refiner_layers: int = 2
    n_heads: int = 30
    norm_eps: float = 1e-5
    qk_norm: bool = True
    cap_feat_dim: int = 2560
    rope_theta: float = 256.0
    t_scale: float = 1000.0
    axes_dims: tuple[int, ...] = (32, 48, 48)
    axes_lens: tuple[int, ...] = (1024, 512, 512)

    @property
    def feed_forward(self) -> int:
        return int(self.dim / 3 * 8)


def read_zimage_config(config: Mapping[str, Any]) -> ZImageConfig:
    """The sizes in transformer/config.json. UnsupportedModel for a variant that is not done here."""
    if list(config.get("all_patch_size", [PATCH])) != [PATCH] or list(config.get("all_f_patch_size", [1])) != [1]:
        raise UnsupportedModel("A Z-Image model with other patches than 2 x 2 is not supported by this version.")
    if config.get("siglip_feat_dim") is not None:
        raise UnsupportedModel("The Omni variant of Z-Image is not supported by this version of Paddock.")
    known = {name: config[name] for name in ZImageConfig.__dataclass_fields__ if name in config}
    known |= {name: tuple(known[name]) for name in ("axes_dims", "axes_lens") if name in known}
    sizes = ZImageConfig(**known)
    if sizes.dim != sizes.n_heads * sum(sizes.axes_dims) or len(sizes.axes_dims) != 3 or len(sizes.axes_lens) != 3:
        raise DamagedModel("The sizes in transformer/config.json contradict each other: create the model again.")
    return sizes


class _Attention(nn.Module):
    def __init__(self, config: ZImageConfig) -> None:
        super().__init__()
        width = config.dim
        self._head_width = width // config.n_heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.to_out = [nn.Linear(width, width, bias=False)]
        if config.qk_norm:
            self.norm_q = nn.RMSNorm(self._head_width, eps=_QK_EPSILON)
            self.norm_k = nn.RMSNorm(self._head_width, eps=_QK_EPSILON)

    def __call__(self, tokens: mx.array, rotation: Rotation) -> mx.array:
        queries, keys, values = (
            split_heads(layer(tokens), self._head_width) for layer in (self.to_q, self.to_k, self.to_v)
        )
        if "norm_q" in self:
            queries, keys = self.norm_q(queries), self.norm_k(keys)
        mixed: mx.array = self.to_out[0](attend(rotate(queries, rotation), rotate(keys, rotation), values))
        return mixed


class _FeedForward(nn.Module):
    def __init__(self, config: ZImageConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.feed_forward, bias=False)
        self.w2 = nn.Linear(config.feed_forward, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.feed_forward, bias=False)

    def __call__(self, tokens: mx.array) -> mx.array:
        mixed: mx.array = self.w2(nn.silu(self.w1(tokens)) * self.w3(tokens))
        return mixed


class _Block(nn.Module):
    """Attention and feed-forward, each between two norms; with modulation, scaled and gated by the time."""

    def __init__(self, config: ZImageConfig, *, is_modulated: bool) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.feed_forward = _FeedForward(config)
        self.attention_norm1, self.attention_norm2, self.ffn_norm1, self.ffn_norm2 = (
            nn.RMSNorm(config.dim, eps=config.norm_eps) for _ in range(4)
        )
        if is_modulated:
            self.adaLN_modulation = [nn.Linear(min(config.dim, _TIME_WIDTH), 4 * config.dim)]

    def __call__(self, tokens: mx.array, rotation: Rotation, time: mx.array | None = None) -> mx.array:
        if time is None:
            tokens = tokens + self.attention_norm2(self.attention(self.attention_norm1(tokens), rotation))
            return tokens + self.ffn_norm2(self.feed_forward(self.ffn_norm1(tokens)))
        modulation = self.adaLN_modulation[0](time)[:, None, :]
        attention_scale, attention_gate, scale, gate = mx.split(modulation, 4, axis=-1)
        mixed = self.attention(self.attention_norm1(tokens) * (1.0 + attention_scale), rotation)
        tokens = settle(tokens + mx.tanh(attention_gate) * self.attention_norm2(mixed))
        mixed = self.feed_forward(self.ffn_norm1(tokens) * (1.0 + scale))
        return tokens + mx.tanh(gate) * self.ffn_norm2(mixed)


class _FinalLayer(nn.Module):
    def __init__(self, config: ZImageConfig) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(config.dim, eps=_FINAL_EPSILON, affine=False)
        self.linear = nn.Linear(config.dim, PATCH * PATCH * config.in_channels)
        self.adaLN_modulation = [nn.SiLU(), nn.Linear(min(config.dim, _TIME_WIDTH), config.dim)]

    def __call__(self, tokens: mx.array, time: mx.array) -> mx.array:
        scale = 1.0 + self.adaLN_modulation[1](nn.silu(time))
        patches: mx.array = self.linear(self.norm_final(tokens) * scale[:, None, :])
        return patches


class _TimeEmbedder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = [nn.Linear(_TIME_WIDTH, _TIME_HIDDEN), nn.SiLU(), nn.Linear(_TIME_HIDDEN, width)]

    def __call__(self, times: mx.array) -> mx.array:
        embedded = embed_time(times, _TIME_WIDTH).astype(float_type(self.mlp[0]))
        result: mx.array = self.mlp[2](nn.silu(self.mlp[0](embedded)))
        return result


@dataclass(frozen=True)
class Caption:
    """A text as the transformer reads it, the same at every step: tokens [1, length, dim] and their positions."""

    tokens: mx.array
    rotation: Rotation


class ZImageTransformer(nn.Module):
    """Predicts the velocity of latents from a caption."""

    def __init__(self, config: ZImageConfig) -> None:
        super().__init__()
        self._config = config
        width = config.dim
        self.all_x_embedder = {_KEY: nn.Linear(PATCH * PATCH * config.in_channels, width)}
        self.all_final_layer = {_KEY: _FinalLayer(config)}
        self.noise_refiner = [_Block(config, is_modulated=True) for _ in range(config.n_refiner_layers)]
        self.context_refiner = [_Block(config, is_modulated=False) for _ in range(config.n_refiner_layers)]
        self.t_embedder = _TimeEmbedder(min(width, _TIME_WIDTH))
        self.cap_embedder = [
            nn.RMSNorm(config.cap_feat_dim, eps=config.norm_eps),
            nn.Linear(config.cap_feat_dim, width),
        ]
        self.x_pad_token = mx.zeros((1, width))
        self.cap_pad_token = mx.zeros((1, width))
        self.layers = [_Block(config, is_modulated=True) for _ in range(config.n_layers)]

    def read_caption(self, features: mx.array) -> Caption:
        """A text's features ([length, cap_feat_dim]) as tokens; it does not depend on the step."""
        embed = self.cap_embedder[1]
        tokens = embed(self.cap_embedder[0](features.astype(float_type(embed))))[None]
        tokens = _fill_up(tokens, self.cap_pad_token)
        positions = np.zeros((tokens.shape[1], 3), dtype=np.int64)
        positions[:, 0] = np.arange(1, tokens.shape[1] + 1)
        rotation = self._rotation(positions)
        for block in self.context_refiner:
            tokens = settle(block(tokens, rotation))
        return Caption(tokens, rotation)

    def picture_rotation(self, rows: int, columns: int, caption_length: int) -> Rotation:
        """Positions of a picture of so many tokens, which begins where a caption of that length ends."""
        return self._rotation(picture_positions(rows, columns, caption_length))

    def __call__(self, latents: mx.array, time: float, caption: Caption, rotation: Rotation) -> Work:
        """Velocity towards the picture, of the shape of `latents` ([batch, height, width, channels]); float32. It stops
        after each block.

        `time` is 1 - sigma; `rotation` is that of the picture.
        """
        batch, height, width, channels = latents.shape
        embedder = self.all_x_embedder[_KEY]
        times = mx.full((batch,), time * self._config.t_scale, dtype=mx.float32)
        embedded_time = self.t_embedder(times)
        patches = latents.reshape(batch, height // PATCH, PATCH, width // PATCH, PATCH, channels)
        patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, PATCH * PATCH * channels)
        count = patches.shape[1]
        tokens = _fill_up(embedder(patches.astype(float_type(embedder))), self.x_pad_token)
        for block in self.noise_refiner:
            tokens = settle(block(tokens, rotation, embedded_time))
            yield
        text = mx.broadcast_to(caption.tokens, (batch, *caption.tokens.shape[1:]))
        tokens = mx.concatenate([tokens, text], axis=1)
        both = Rotation(
            mx.concatenate([rotation.cosines, caption.rotation.cosines]),
            mx.concatenate([rotation.sines, caption.rotation.sines]),
        )
        for block in self.layers:
            tokens = settle(block(tokens, both, embedded_time))
            yield
        patches = self.all_final_layer[_KEY](tokens[:, :count], embedded_time).astype(mx.float32)
        patches = patches.reshape(batch, height // PATCH, width // PATCH, PATCH, PATCH, channels)
        return patches.transpose(0, 1, 3, 2, 4, 5).reshape(latents.shape)

    def _rotation(self, positions: Positions) -> Rotation:
        return make_rotation(positions, self._config.axes_dims, self._config.rope_theta)


def picture_positions(rows: int, columns: int, caption_length: int) -> Positions:
    """(caption length + 1, row, column) of each token, row by row; those that fill up are at (0, 0, 0)."""
    count = rows * columns
    positions = np.zeros((_filled(count), 3), dtype=np.int64)
    positions[:count, 0] = caption_length + 1
    positions[:count, 1] = np.repeat(np.arange(rows), columns)
    positions[:count, 2] = np.tile(np.arange(columns), rows)
    return positions


def _filled(count: int) -> int:
    return -(-count // _TOKENS_MULTIPLE) * _TOKENS_MULTIPLE


def _fill_up(tokens: mx.array, filler: mx.array) -> mx.array:
    batch, count, width = tokens.shape
    missing = _filled(count) - count
    if not missing:
        return tokens
    more = mx.broadcast_to(filler.astype(tokens.dtype), (batch, missing, width))
    return mx.concatenate([tokens, more], axis=1)
