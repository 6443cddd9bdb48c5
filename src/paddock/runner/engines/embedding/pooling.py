"""From the hidden states of a text's tokens to one vector: the ways of sentence-transformers (Reimers and Gurevych
2019), and its dense layers on top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import mlx.core as mx
import mlx.nn as nn

from paddock.runner.engines.embedding.layers import is_real

Pool = Callable[[mx.array, mx.array], mx.array]
"""From states (texts, length, width) and lengths (texts,) to (texts, width)."""


def _first(states: mx.array, lengths: mx.array) -> mx.array:
    return states[:, 0]


def _last(states: mx.array, lengths: mx.array) -> mx.array:
    return states[mx.arange(states.shape[0]), lengths - 1]


def _largest(states: mx.array, lengths: mx.array) -> mx.array:
    return mx.where(is_real(lengths, states.shape[1])[..., None], states, -mx.inf).max(axis=1)


def _sum(states: mx.array, lengths: mx.array) -> mx.array:
    return (states * is_real(lengths, states.shape[1])[..., None]).sum(axis=1)


def _mean(states: mx.array, lengths: mx.array) -> mx.array:
    return _sum(states, lengths) / lengths[:, None]


def _mean_by_root(states: mx.array, lengths: mx.array) -> mx.array:
    return _sum(states, lengths) / mx.sqrt(lengths[:, None].astype(mx.float32))


def _weighted_mean(states: mx.array, lengths: mx.array) -> mx.array:
    """Later tokens count more: the first once, the second twice and so on."""
    weights = mx.arange(1, states.shape[1] + 1)[None] * is_real(lengths, states.shape[1])
    return (states * weights[..., None]).sum(axis=1) / weights.sum(axis=1)[:, None]


POOLS: Mapping[str, Pool] = {
    "cls": _first,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
"""By their names in sentence-transformers; several are joined in this order."""


def pooled(states: mx.array, lengths: mx.array, names: Sequence[str]) -> mx.array:
    """The vectors of one way, or those of several side by side."""
    return mx.concatenate([POOLS[name](states, lengths) for name in names], axis=-1)


class Dense(nn.Module):
    """A layer after the pooling."""

    def __init__(self, inner: int, outer: int, *, bias: bool, activation: Callable[[mx.array], mx.array]) -> None:
        super().__init__()
        self.linear = nn.Linear(inner, outer, bias=bias)
        self._activation = activation

    def __call__(self, vectors: mx.array) -> mx.array:
        return self._activation(self.linear(vectors))
