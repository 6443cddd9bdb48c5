"""BERT (Devlin et al. 2018) and RoBERTa (Liu et al. 2019, Conneau et al. 2019): one architecture, told apart by where
positions begin and by the head of a classifier. Modules have the names of the tensors in published checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from paddock.errors import UnsupportedModel
from paddock.runner.engines.embedding.layers import activation, attend, join_heads, key_mask, split_heads, whole_number

ROBERTAS = frozenset({"roberta", "xlm-roberta"})
PREFIXES = ("bert.", "roberta.")
NOT_NEEDED = ("pooler.", "cls.", "lm_head.", "embeddings.position_ids", "embeddings.token_type_ids")
"""Heads of pretraining, and buffers that older versions saved."""
RERANKER_NOT_NEEDED = NOT_NEEDED[1:]


@dataclass(frozen=True)
class BertShape:
    """Sizes of a model."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    kinds: int
    first_position: int
    """RoBERTa counts positions from behind the id of the padding."""
    epsilon: float
    activation: str

    @property
    def context_limit(self) -> int:
        """Tokens that there are positions for."""
        return self.positions - self.first_position

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BertShape:
        """The sizes in a config.json. UnsupportedModel for a relation that computes something else."""
        if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder"):
            raise UnsupportedModel("This version of Paddock runs BERT models with absolute positions only.")
        width, heads = whole_number(config, "hidden_size"), whole_number(config, "num_attention_heads")
        if width % heads:
            raise UnsupportedModel("The model's config.json has a hidden_size that its heads cannot share.")
        is_roberta = config.get("model_type") in ROBERTAS
        padding = config.get("pad_token_id", 1)
        return cls(
            width=width,
            layers=whole_number(config, "num_hidden_layers"),
            heads=heads,
            feed_forward=whole_number(config, "intermediate_size"),
            vocabulary=whole_number(config, "vocab_size"),
            positions=whole_number(config, "max_position_embeddings", 512),
            kinds=whole_number(config, "type_vocab_size", 2),
            first_position=(padding if isinstance(padding, int) else 1) + 1 if is_roberta else 0,
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            activation=str(config.get("hidden_act", "gelu")),
        )


class _Embeddings(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocabulary, shape.width)
        self.position_embeddings = nn.Embedding(shape.positions, shape.width)
        self.token_type_embeddings = nn.Embedding(shape.kinds, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self._first_position = shape.first_position

    def __call__(self, tokens: mx.array, kinds: mx.array) -> mx.array:
        places = mx.arange(tokens.shape[1]) + self._first_position
        known = self.word_embeddings(tokens) + self.position_embeddings(places)[None]
        return self.LayerNorm(known + self.token_type_embeddings(kinds))


class _Added(nn.Module):
    """A product that is added to what there was, and normalised."""

    def __init__(self, inner: int, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, shape.width)
        self.LayerNorm = nn.LayerNorm(shape.width, eps=shape.epsilon)

    def __call__(self, states: mx.array, before: mx.array) -> mx.array:
        return self.LayerNorm(self.dense(states) + before)


class _SelfAttention(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.width, shape.width)
        self.key = nn.Linear(shape.width, shape.width)
        self.value = nn.Linear(shape.width, shape.width)
        self._heads = shape.heads

    def __call__(self, states: mx.array, mask: mx.array) -> mx.array:
        queries, keys, values = (split_heads(part(states), self._heads) for part in (self.query, self.key, self.value))
        return join_heads(attend(queries, keys, values, queries.shape[-1] ** -0.5, mask))


class _Attention(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.self = _SelfAttention(shape)
        self.output = _Added(shape.width, shape)

    def __call__(self, states: mx.array, mask: mx.array) -> mx.array:
        return self.output(self.self(states, mask), states)


class _Intermediate(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.width, shape.feed_forward)
        self._activation = activation(shape.activation)

    def __call__(self, states: mx.array) -> mx.array:
        return self._activation(self.dense(states))


class _Layer(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.attention = _Attention(shape)
        self.intermediate = _Intermediate(shape)
        self.output = _Added(shape.feed_forward, shape)

    def __call__(self, states: mx.array, mask: mx.array) -> mx.array:
        seen = self.attention(states, mask)
        return self.output(self.intermediate(seen), seen)


class _Layers(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.layer = [_Layer(shape) for _ in range(shape.layers)]


class Bert(nn.Module):
    """The encoder; see `Encoder`."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.embeddings = _Embeddings(shape)
        self.encoder = _Layers(shape)

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        mask = key_mask(lengths, tokens.shape[1])
        states = self.embeddings(tokens, kinds)
        for layer in self.encoder.layer:
            states = layer(states, mask)
            yield states


class BertReranker(Bert):
    """With a head that gives one number for a pair of texts, (texts, 1)."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__(shape)
        self.pooler = _Pooler(shape)
        self.classifier = nn.Linear(shape.width, 1)

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        for states in super().stages(tokens, kinds, lengths):
            yield states
        yield self.classifier(self.pooler(states[:, 0]))


class RobertaReranker(Bert):
    """The same with RoBERTa's head."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__(shape)
        self.classifier = _RobertaHead(shape)

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        for states in super().stages(tokens, kinds, lengths):
            yield states
        yield self.classifier(states[:, 0])


class _Pooler(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.width, shape.width)

    def __call__(self, first: mx.array) -> mx.array:
        return mx.tanh(self.dense(first))


class _RobertaHead(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.width, shape.width)
        self.out_proj = nn.Linear(shape.width, 1)

    def __call__(self, first: mx.array) -> mx.array:
        return self.out_proj(mx.tanh(self.dense(first)))
