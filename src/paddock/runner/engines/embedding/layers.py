"""What the encoders share: attention with bounded scores, masks for texts of unequal lengths, activations by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn

from paddock.errors import UnsupportedModel

ATTENTION_ROWS = 512
"""On the CPU MLX writes attention's scores out: so many rows of them exist at once."""

_ACTIVATIONS: Mapping[str, Callable[[mx.array], mx.array]] = {
    "gelu": nn.gelu,
    "gelu_new": nn.gelu_approx,
    "gelu_pytorch_tanh": nn.gelu_approx,
    "relu": nn.relu,
    "silu": nn.silu,
    "swish": nn.silu,
}


class Encoder(Protocol):
    """A text encoder. `tokens` and `kinds` are (texts, length) ids, padded on the right; `lengths` are (texts,)."""

    def stages(self, tokens: mx.array, kinds: mx.array, lengths: mx.array) -> Iterator[mx.array]:
        """What comes out of one layer after the other, (texts, length, width), the last hidden states last. A reranker
        goes on to (texts, 1)."""


def activation(name: object) -> Callable[[mx.array], mx.array]:
    """The function that a config names; UnsupportedModel for one that is not known."""
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise UnsupportedModel(f'This version of Paddock does not know the activation "{name}".')
    return _ACTIVATIONS[name]


def is_real(lengths: mx.array, length: int) -> mx.array:
    """(texts, length): whether there is a token of the text, and no padding."""
    return mx.arange(length)[None] < lengths[:, None]


def key_mask(lengths: mx.array, length: int) -> mx.array:
    """(texts, 1, 1, length): every token may look at every token of its text."""
    return is_real(lengths, length)[:, None, None, :]


def window_mask(lengths: mx.array, length: int, reach: int) -> mx.array:
    """(texts, 1, length, length): tokens of the text at most `reach` away. Padding looks at itself too, so that no row
    is empty: its result would be no number, and spoil those of others."""
    places = mx.arange(length)
    distance = mx.abs(places[:, None] - places[None])
    return (distance <= reach)[None, None] & (key_mask(lengths, length) | (distance == 0)[None, None])


def attend(queries: mx.array, keys: mx.array, values: mx.array, scale: float, mask: mx.array) -> mx.array:
    """Attention of (texts, heads, length, width) under a mask; long texts a block of rows after the other."""
    length = queries.shape[2]
    if length <= ATTENTION_ROWS or mx.default_device() == mx.gpu:
        return mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    blocks = []
    for start in range(0, length, ATTENTION_ROWS):
        rows = slice(start, start + ATTENTION_ROWS)
        seen = mask if mask.shape[2] == 1 else mask[:, :, rows]
        block = mx.fast.scaled_dot_product_attention(queries[:, :, rows], keys, values, scale=scale, mask=seen)
        mx.eval(block)
        blocks.append(block)
    return mx.concatenate(blocks, axis=2)


def split_heads(states: mx.array, heads: int) -> mx.array:
    """(texts, length, width) to (texts, heads, length, width of a head)."""
    texts, length, _ = states.shape
    return states.reshape(texts, length, heads, -1).transpose(0, 2, 1, 3)


def join_heads(states: mx.array) -> mx.array:
    """The way back."""
    texts, _, length, _ = states.shape
    return states.transpose(0, 2, 1, 3).reshape(texts, length, -1)


def whole_number(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    """A size of a config; UnsupportedModel where it is missing, none, or not positive."""
    found = config.get(key, default)
    if type(found) is not int or found <= 0:
        raise UnsupportedModel(f"The model's config.json gives no usable {key}.")
    return found
