"""ModernBERT (Warner et al. 2024): rotary positions, layers that alternate between a window and the whole text, gated
feed-forward networks. Modules have the names of the tensors in published checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from paddock.errors import UnsupportedModel
from paddock.runner.engines.embedding.layers import (
    activation,
    attend,
    is_real,
    join_heads,
    key_mask,
    split_heads,
    whole_number,
    window_mask,
)

PREFIXES = ("model.",)
NOT_NEEDED = ("head.", "decoder.", "classifier.")
RERANKER_NOT_NEEDED = ("decoder.",)
_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
_THETAS = {_GLOBAL: ("global_rope_theta", 160_000.0), _LOCAL: ("local_rope_theta", 10_000.0)}


@dataclass(frozen=True)
class ModernBertShape:
    """Sizes of a model."""

    width: int
    heads: int
    feed_forward: int
    vocabulary: int
    context_limit: int
    layer_types: tuple[str, ...]
    reach: int
    """How far a token sees in a layer with a window, to either side."""
    thetas: Mapping[str, float]
    epsilon: float
    activation: str
    has_norm_bias: bool
    has_attention_bias: bool
    has_feed_forward_bias: bool
    has_classifier_bias: bool
    classifier_activation: str
    classifies_mean: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> ModernBertShape:
        """The sizes in a config.json, of transformers 4 or 5. UnsupportedModel for what is not known."""
        width, heads = whole_number(config, "hidden_size"), whole_number(config, "num_attention_heads")
        if width % heads:
            raise UnsupportedModel("The model's config.json has a hidden_size that its heads cannot share.")
        return cls(
            width=width,
            heads=heads,
            feed_forward=whole_number(config, "intermediate_size"),
            vocabulary=whole_number(config, "vocab_size"),
            context_limit=whole_number(config, "max_position_embeddings", 8192),
            layer_types=_layer_types(config),
            reach=whole_number(config, "local_attention", 128) // 2,
            thetas={kind: _theta(config, kind) for kind in _THETAS},
            epsilon=float(config.get("norm_eps", 1e-5)),
            activation=str(config.get("hidden_activation", "gelu")),
            has_norm_bias=bool(config.get("norm_bias", False)),
            has_attention_bias=bool(config.get("attention_bias", False)),
            has_feed_forward_bias=bool(config.get("mlp_bias", False)),
            has_classifier_bias=bool(config.get("classifier_bias", False)),
            classifier_activation=str(config.get("classifier_activation", "gelu")),
            classifies_mean=config.get("classifier_pooling", "cls") == "mean",
        )


def _layer_types(config: Mapping[str, Any]) -> tuple[str, ...]:
    count = whole_number(config, "num_hidden_layers")
    types = config.get("layer_types")
    if types is None:
        period = whole_number(config, "global_attn_every_n_layers", 3)
        return tuple(_LOCAL if index % period else _GLOBAL for index in range(count))
    if not isinstance(types, list) or len(types) != count or not all(kind in _THETAS for kind in types):
        raise UnsupportedModel("The model's config.json has layer_types that this version of Paddock does not know.")
    return tuple(types)


def _theta(config: Mapping[str, Any], kind: str) -> float:
    key, default = _THETAS[kind]
    by_kind = config.get("rope_parameters")
    settings = by_kind.get(kind) if isinstance(by_kind, dict) else None
    if not isinstance(settings, dict):
        return float(config.get(key, default))
    if settings.get("rope_type", "default") != "default":
        raise UnsupportedModel("This version of Paddock runs ModernBERT models with plain rotary positions only.")
    return float(settings.get("rope_theta", default))


class _Embeddings(nn.Module):
    def __init__(self, shape: ModernBertShape) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.norm = _norm(shape)

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.norm(self.tok_embeddings(tokens))


class _Attention(nn.Module):
    def __init__(self, shape: ModernBertShape, kind: str) -> None:
        super().__init__()
        self.Wqkv = nn.Linear(shape.width, 3 * shape.width, bias=shape.has_attention_bias)
        self.Wo = nn.Linear(shape.width, shape.width, bias=shape.has_attention_bias)
        self._heads = shape.heads
        self._theta = shape.thetas[kind]

    def __call__(self, states: mx.array, mask: mx.array) -> mx.array:
        queries, keys, values = (split_heads(part, self._heads) for part in mx.split(self.Wqkv(states), 3, axis=-1))
        width = queries.shape[-1]
        queries, keys = (
            mx.fast.rope(part, width, traditional=False, base=self._theta, scale=1.0, offset=0)
            for part in (queries, keys)
        )
        return self.Wo(join_heads(attend(queries, keys, values, width**-0.5, mask)))


class _FeedForward(nn.Module):
    def __init__(self, shape: ModernBertShape) -> None:
        super().__init__()
        self.Wi = nn.Linear(shape.width, 2 * shape.feed_forward, bias=shape.has_feed_forward_bias)
        self.Wo = nn.Linear(shape.feed_forward, shape.width, bias=shape.has_feed_forward_bias)
        self._activation = activation(shape.activation)

    def __call__(self, states: mx.array) -> mx.array:
        content, gate = mx.split(self.Wi(states), 2, axis=-1)
        return self.Wo(self._activation(content) * gate)


class _Layer(nn.Module):
    def __init__(self, shape: ModernBertShape, index: int) -> None:
        super().__init__()
        self.kind = shape.layer_types[index]
        self.attn_norm = _norm(shape) if index else nn.Identity()
        self.attn = _Attention(shape, self.kind)
        self.mlp_norm = _norm(shape)
        self.mlp = _FeedForward(shape)

    def __call__(self, states: mx.array, mask: mx.array) -> mx.array:
        states = states + self.attn(self.attn_norm(states), mask)
        return states + self.mlp(self.mlp_norm(states))


class ModernBert(nn.Module):
    """The encoder; see `Encoder`. It has no kinds of tokens."""

    def __init__(self, shape: ModernBertShape) -> None:
        super().__init__()
        self.embeddings = _Embeddings(shape)
        self.layers = [_Layer(shape, index) for index in range(len(shape.layer_types))]
        self.final_norm = _norm(shape)
        self._reach = shape.reach

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        length = tokens.shape[1]
        masks = {_GLOBAL: key_mask(lengths, length), _LOCAL: window_mask(lengths, length, self._reach)}
        states = self.embeddings(tokens)
        for layer in self.layers[:-1]:
            states = layer(states, masks[layer.kind])
            yield states
        last = self.layers[-1]
        yield self.final_norm(last(states, masks[last.kind]))


class ModernBertReranker(ModernBert):
    """With a head that gives one number for a pair of texts, (texts, 1)."""

    def __init__(self, shape: ModernBertShape) -> None:
        super().__init__(shape)
        self.head = _Head(shape)
        self.classifier = nn.Linear(shape.width, 1)
        self._classifies_mean = shape.classifies_mean

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        for states in super().stages(tokens, kinds, lengths):
            yield states
        if self._classifies_mean:
            real = is_real(lengths, tokens.shape[1])[..., None]
            pooled = (states * real).sum(axis=1) / lengths[:, None]
        else:
            pooled = states[:, 0]
        yield self.classifier(self.head(pooled))


class _Head(nn.Module):
    def __init__(self, shape: ModernBertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.width, shape.width, bias=shape.has_classifier_bias)
        self.norm = _norm(shape)
        self._activation = activation(shape.classifier_activation)

    def __call__(self, states: mx.array) -> mx.array:
        return self.norm(self._activation(self.dense(states)))


def _norm(shape: ModernBertShape) -> nn.LayerNorm:
    return nn.LayerNorm(shape.width, eps=shape.epsilon, bias=shape.has_norm_bias)
