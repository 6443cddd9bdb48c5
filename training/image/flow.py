"""One step of training: how a text is read, which velocity the transformer gives, and how far off that is.

The functions compute with the layers of transformers' Qwen3Model and diffusers' ZImageTransformer2DModel what these
would, but for whole batches of equal shape at once; `assert_equal` compares the two.
"""

from __future__ import annotations

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor, nn
from transformers import Qwen3Model

from training.image.model import PATCH

_KEY = "2-1"
Rope = Tensor
"""The turn of each pair of channels of each token, a complex number. Shape [1, tokens, 1, pairs]."""


def read_text(encoder: Qwen3Model, tokens: Tensor) -> Tensor:
    """The features that the pipeline takes, those of the last layer but one. [batch, length] to [batch, length, width].

    What fills a row up comes after the text, so that nothing of the text sees it.
    """
    states = encoder.embed_tokens(tokens)
    rope = encoder.rotary_emb(states, torch.arange(tokens.shape[1])[None])
    for layer in encoder.layers[:-1]:
        states = layer(states, position_embeddings=rope)
    return states


def make_rope(model: ZImageTransformer2DModel, rows: int, columns: int, caption_length: int) -> Rope:
    """Of the tokens of a picture, then of those of its caption."""
    places = torch.zeros(rows * columns + caption_length, 3, dtype=torch.long)
    places[: rows * columns, 0] = caption_length + 1
    places[: rows * columns, 1] = torch.arange(rows).repeat_interleave(columns)
    places[: rows * columns, 2] = torch.arange(columns).repeat(rows)
    places[rows * columns :, 0] = torch.arange(1, caption_length + 1)
    return model.rope_embedder(places)[None, :, None]


def velocity(
    model: ZImageTransformer2DModel, latents: Tensor, times: Tensor, features: Tensor, lengths: Tensor, rope: Rope
) -> Tensor:
    """From noise towards the picture, of the shape of `latents` [batch, channels, rows, columns].

    `times` run from 0 (noise) to 1 (picture); of each row of `features` the first `lengths` tokens are the text.
    """
    batch, channels, height, width = latents.shape
    rows, columns = height // PATCH, width // PATCH
    time = model.t_embedder(times * model.t_scale)
    patches = latents.reshape(batch, channels, rows, PATCH, columns, PATCH).permute(0, 2, 4, 3, 5, 1)
    picture = model.all_x_embedder[_KEY](patches.reshape(batch, rows * columns, -1))
    of_picture, of_text = rope[:, : rows * columns], rope[:, rows * columns :]
    for layer in model.noise_refiner:
        picture = _block(layer, picture, of_picture, time)
    fills_up = torch.arange(features.shape[1])[None, :] >= lengths[:, None]
    norm, embed = model.cap_embedder
    text = torch.where(fills_up[..., None], model.cap_pad_token, embed(_rms(norm, features)))
    for layer in model.context_refiner:
        text = _block(layer, text, of_text)
    both = torch.cat((picture, text), dim=1)
    for layer in model.layers:
        both = _block(layer, both, rope, time)
    patches = model.all_final_layer[_KEY](both[:, : rows * columns], c=time)
    patches = patches.reshape(batch, rows, columns, PATCH, PATCH, channels).permute(0, 5, 1, 3, 2, 4)
    return patches.reshape(latents.shape)


@torch.no_grad()
def assert_equal(encoder: Qwen3Model, model: ZImageTransformer2DModel, side: int, length: int) -> None:
    """That text and velocity are what transformers and diffusers compute, at a picture of `side` x `side` cells."""
    lengths = torch.tensor([length, length // 2])
    tokens = torch.randint(encoder.config.vocab_size, (2, length))
    latents, times = torch.randn(2, model.in_channels, side, side), torch.tensor([0.3, 0.8])
    features = read_text(encoder, tokens)
    torch.testing.assert_close(features, encoder(tokens, output_hidden_states=True).hidden_states[-2])
    texts = [row[:count] for row, count in zip(features, lengths.tolist(), strict=True)]
    expected = torch.stack(model(list(latents[:, :, None]), times, texts, return_dict=False)[0])[:, :, 0]
    rope = make_rope(model, side // PATCH, side // PATCH, length)
    found = velocity(model, latents, times, features, lengths, rope)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.compile(dynamic=True)
def _normed(tokens: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return tokens * torch.rsqrt(tokens.square().mean(-1, keepdim=True) + epsilon) * weight


@torch.compile(dynamic=True)
def _scaled(tokens: Tensor, weight: Tensor, epsilon: float, scale: Tensor) -> Tensor:
    return tokens * torch.rsqrt(tokens.square().mean(-1, keepdim=True) + epsilon) * weight * (1.0 + scale)


@torch.compile(dynamic=True)
def _gated(tokens: Tensor, mixed: Tensor, weight: Tensor, epsilon: float, gate: Tensor) -> Tensor:
    normed = mixed * torch.rsqrt(mixed.square().mean(-1, keepdim=True) + epsilon) * weight
    return tokens + gate.tanh() * normed


def _rms(norm: nn.Module, tokens: Tensor) -> Tensor:
    return _normed(tokens, norm.weight, norm.eps)


def _rotated(tokens: Tensor, rope: Rope) -> Tensor:
    pairs = torch.view_as_complex(tokens.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rope).flatten(-2)


def _attended(layer: nn.Module, tokens: Tensor, rope: Rope) -> Tensor:
    """Written out: for so few tokens it is faster than PyTorch's fused attention."""
    queries, keys, values = (
        project(tokens).unflatten(-1, (layer.heads, -1)) for project in (layer.to_q, layer.to_k, layer.to_v)
    )
    queries = _rotated(_rms(layer.norm_q, queries) * queries.shape[-1] ** -0.5, rope)
    keys = _rotated(_rms(layer.norm_k, keys), rope)
    queries, keys, values = (part.transpose(1, 2) for part in (queries, keys, values))
    mixed = (queries @ keys.transpose(2, 3)).softmax(dim=-1) @ values
    return layer.to_out[0](mixed.transpose(1, 2).flatten(2))


def _block(layer: nn.Module, tokens: Tensor, rope: Rope, time: Tensor | None = None) -> Tensor:
    if time is None:
        tokens = tokens + _rms(
            layer.attention_norm2, _attended(layer.attention, _rms(layer.attention_norm1, tokens), rope)
        )
        return tokens + _rms(layer.ffn_norm2, layer.feed_forward(_rms(layer.ffn_norm1, tokens)))
    scale_1, gate_1, scale_2, gate_2 = layer.adaLN_modulation(time).unsqueeze(1).chunk(4, dim=2)
    norm_1, norm_2 = layer.attention_norm1, layer.attention_norm2
    mixed = _attended(layer.attention, _scaled(tokens, norm_1.weight, norm_1.eps, scale_1), rope)
    tokens = _gated(tokens, mixed, norm_2.weight, norm_2.eps, gate_1)
    norm_1, norm_2 = layer.ffn_norm1, layer.ffn_norm2
    mixed = layer.feed_forward(_scaled(tokens, norm_1.weight, norm_1.eps, scale_2))
    return _gated(tokens, mixed, norm_2.weight, norm_2.eps, gate_2)
